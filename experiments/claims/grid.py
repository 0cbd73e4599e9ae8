"""The grid of exact checks: three seeds by three shapes.

Only the model and its derivatives are compiled, once per function and shape; what is made of the numbers is numpy.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from model import build, mask
from model.heads import Heads
from model.initial import Dial, settings

SEEDS = (0, 1, 2)
# A check runs each program three times: compiling it is all that takes time.
UNTUNED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Shape(NamedTuple):
  """Sizes of one setting; the width is a multiple of the heads."""

  batch: int
  length: int
  width: int
  heads: int


SHAPES = (Shape(1, 4, 8, 1), Shape(2, 5, 12, 3), Shape(1, 7, 16, 4))


class Case(NamedTuple):
  """One setting: modules with drawn weights, and two independent inputs with standard normal entries."""

  shape: Shape
  modules: tuple[Any, ...]
  x_BTM: np.ndarray
  other_BTM: np.ndarray


class Samples(dict[str, list[float]]):
  """Numbers by sample name, filled one case at a time."""

  def add(self, **numbers: Any) -> None:
    """Appends one number to each sample; underscores in the names become spaces."""
    for name, number in numbers.items():
      self.setdefault(name.replace("_", " "), []).append(float(number))


def cases(*builds: Callable, shapes: Sequence[Shape] = (), seeds: Sequence[int] = SEEDS) -> Iterator[Case]:
  """Every shape with every seed; each of `builds` makes a module from a shape."""
  for shape in shapes or SHAPES:
    abstract = [nnx.eval_shape(functools.partial(each, shape)) for each in builds]
    for seed in seeds:
      random = np.random.default_rng([seed, *shape])
      modules = tuple(draw(each, random) for each in abstract)
      size = (shape.batch, shape.length, shape.width)
      x_BTM, other_BTM = (random.standard_normal(size).astype(np.float32) for _ in range(2))
      yield Case(shape, modules, x_BTM, other_BTM)


def draw(abstract, random: np.random.Generator):
  """The module with every weight drawn by numpy, which needs no compiling: matrices with variance 1 / fan-in.

  Gains lie near 1 and biases near 0, but not at them, where a check would not see them.
  """
  graphdef, params, _, rest = nnx.split(abstract, nnx.Param, Dial, ...)
  assert not jax.tree.leaves(rest), "a check's module holds parameters and dials only"

  def value(variable):
    role, fan_in = (variable.get_metadata(name) for name in ("role", "fan_in"))
    spread = 0.1 if role in ("gain", "bias") else 1.0 if role in ("embedding", "position") else fan_in**-0.5
    return ((role == "gain") + spread * random.standard_normal(variable.shape)).astype(np.float32)

  values = jax.tree.map(value, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
  return nnx.merge(graphdef, values, settings(abstract))


def call(function: Callable, module, *inputs):
  """function(module, *inputs) as numpy. `function` is one of a module's own, not a closure: it is the compile's key.

  Products run in full float32 on every device, so that a tolerance means the same everywhere.
  """
  graphdef, state = nnx.split(module)
  return jax.device_get(_run(function, graphdef, state, *inputs))


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=UNTUNED)
def _run(function, graphdef, state, *inputs):
  with jax.default_matmul_precision("highest"):
    return function(nnx.merge(graphdef, state), *inputs)


def forget() -> None:
  """Drops every compiled program, for tests that change the model under it."""
  _run.clear_cache()  # pyright: ignore[reportAttributeAccessIssue]


def attention(shape: Shape, **options) -> Heads:
  """A layer of scaled dot-product heads; `options` as for `Heads`."""
  return Heads(shape.width, **({"heads": shape.heads, "mechanism": {"kind": "dot"}} | options))


def stack(shape: Shape, **options) -> dict:
  """Complete settings of a stack of this shape; `options` as for a model."""
  given = {
    "width": shape.width,
    "heads": shape.heads,
    "depth": 1,
    "feedforward": {"kind": "relu", "hidden": shape.width},
  }
  return build.complete(given | options)


def one_row(length: int, rule: mask.Rule) -> mask.Mask:
  """Self-attention over one whole row."""
  return mask.Mask(mask.rows(length), mask.rows(length), rule)


def recorded(heads: Heads, x_BTM, rule: mask.Rule):
  """Output (B, T, M), weights (B, K, G, T, S) and head outputs (B, T, K, G, D) of self-attention."""
  record: list[dict] = []
  y_BTM, _ = heads(x_BTM, x_BTM, one_row(x_BTM.shape[1], rule), record=record)
  return y_BTM, record[0]["weights_BKGTS"], record[0]["out_BTKGD"]


def attend(heads: Heads, x_BTM):
  """What `recorded` gives without a mask."""
  return recorded(heads, x_BTM, mask.everything())


def kernel(heads: Heads, name: str) -> np.ndarray:
  """A projection (M, H, D), or W_O (H, D, M), of a layer without groups."""
  values = np.asarray(getattr(heads, name)[...])
  return values[:, :, 0] if name == "query" else values[:, 0] if name == "out" else values


def answer(layer, x_BTM):
  """The layer's output."""
  return layer(x_BTM)


def token_slopes(layer, x_TM):
  """Derivatives (T, M, S, M) of a layer that maps (B, T, M) to (B, T, M)."""
  return jax.jacfwd(lambda x_TM: layer(x_TM[None])[0])(x_TM)


def exchanged(function: Callable, module, x_TM, other_TM) -> np.ndarray:
  """How far output t moves (T, S) when input s gives way to that of `other`; function(module, x_BTM) -> (B, T, M).

  Exactly 0 where t does not depend on s; needs no derivative, which would take longer to compile.
  """
  one_SS1 = np.eye(len(x_TM), dtype=bool)[:, :, None]
  y_BTM = call(function, module, np.concatenate([x_TM[None], np.where(one_SS1, other_TM, x_TM)]))
  return np.linalg.norm((y_BTM[1:] - y_BTM[:1]).astype(np.float64), axis=-1).T


def blocks(slopes_TMSM) -> np.ndarray:
  """Frobenius norms (T, S) of the blocks of a Jacobian (T, M, S, M)."""
  return np.sqrt(np.square(np.asarray(slopes_TMSM, np.float64)).sum((1, 3)))


def apart(norms_TS) -> np.ndarray:
  """The norms of all pairs of different positions."""
  return norms_TS[~np.eye(len(norms_TS), dtype=bool)]


def share(norms, of) -> float:
  """The smallest norm as a share of the largest of all, 0 where all are 0: 'not zero' means above 1e-3."""
  return norms.min() / of.max() if of.max() > 0 else 0.0


def softmax(score_XS: np.ndarray) -> np.ndarray:
  """Weights over the last axis, in the scores' own precision; X stands for any axes before it."""
  w_XS = np.exp(score_XS - score_XS.max(-1, keepdims=True))
  return w_XS / w_XS.sum(-1, keepdims=True)


def entropy(w_XS: np.ndarray) -> np.ndarray:
  """Entropy (X,) in nats of weights over the last axis."""
  return -(w_XS * np.log(np.maximum(w_XS, np.finfo(w_XS.dtype).tiny))).sum(-1)


def distance(a, b) -> float:
  """The largest absolute difference."""
  return np.abs(np.asarray(a) - np.asarray(b)).max()
