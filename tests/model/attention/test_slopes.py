"""Nothing explodes at zero vectors, equal tokens, constant rows, equal scores or extreme sizes: gradients stay bounded.

The bound is a thousand times the gradient at standard normal inputs: what a division by sqrt(eps), eps = 1e-6, may do.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.attention.cosine import SHORT
from model.attention.differential import EPS
from model.initial import realize
from model.language import Inputs
from model.mask import causal, rows
from model.vocabulary import Vocabulary
from tests.model.attention import cases

TIMES = 1e3
HEADS, LENGTH = 4, 16
OPTIONS = {  # so that rows of 16 tokens take the efficient paths and meet the last number of a scheme
  "banded": {"window": 3},
  "block_sparse": {"block_size": 2, "random": 1},
  "linear": {"chunk": 4},
  "lsh": {"chunk": 4},
  "performer": {"chunk": 4},
  "shaw": {"clip": 4},
  "t5": {"buckets": 8, "reach": 8},
  "xl": {"reach": 8},
}
HOOKS = ("rotate", "inside", "after", "values")
SCHEMES = [kind for kind in build.kinds("position") if any(map(build.resolve("position", kind).acts, HOOKS))]
NORMS = ("pre", "post", "none")


def fits(kind, scheme):
  """Whether the mechanism has a place for what the scheme does."""
  return all(getattr(cases.SUPPORTS[kind], hook) for hook in HOOKS if build.resolve("position", scheme).acts(hook))


ALL = [(kind, scheme) for kind in cases.KINDS for scheme in ("none", *SCHEMES) if fits(kind, scheme)]
QUICK = [(kind, scheme) for kind, scheme in ALL if scheme == "none" or kind == "cosine"]


def places():
  """Queries, keys and values by what is odd about them."""
  q, k, v = plain = cases.qkv(HEADS, 1)
  half = np.arange(LENGTH) % 2 == 1

  def some(a):
    return a * half.reshape(1, -1, *[1] * (a.ndim - 2))

  return {
    "generic": plain,
    "all zero": (0 * q, 0 * k, 0 * v),
    "queries zero": (0 * q, k, v),
    "keys zero": (q, 0 * k, v),
    "values zero": (q, k, 0 * v),
    "every second token zero": tuple(map(some, plain)),
    "equal tokens": tuple(np.repeat(a[:, :1], LENGTH, 1) for a in plain),
    "equal keys": (q, np.repeat(k[:, :1], LENGTH, 1), v),
    "constant rows": tuple(0 * a + a[..., :1] for a in plain),
    "tiny": tuple(np.float32(1e-20) * a for a in plain),
    "small": tuple(np.float32(1e-3) * a for a in plain),
    "huge scores": (np.float32(1e4) * q, np.float32(1e4) * k, v),
  }


def largest(kind, scheme):
  """The largest number among the gradients by q, k, v and all parameters, at each place."""
  made = cases.mechanism(kind, HEADS, 1, **OPTIONS.get(kind, {}))
  scheme = realize(
    lambda: build.make("position", {"kind": scheme, **OPTIONS.get(scheme, {})}, width=32, heads=HEADS, head_dim=cases.D)
  )
  mask, target = cases.self_mask(rows(LENGTH), causal()), cases.qkv(HEADS, 1, seed=7)[0]
  graph, params, rest = nnx.split((made, scheme), nnx.Param, ...)

  @jax.jit
  def gradient(params, qkv):
    def loss(params, qkv):
      made, scheme = nnx.merge(graph, params, rest)
      q, k, v = qkv
      q = made.turn(q[:, :, :, 0], mask.q, scheme)[:, :, :, None]
      k = q[:, :, :, 0] if made.supports.tied else made.turn(k, mask.k, scheme)
      return (made(q, k, v, mask, scheme)[0] * target).sum()

    return jax.grad(loss, (0, 1))(params, qkv)

  found = {name: jax.tree.leaves(gradient(params, qkv)) for name, qkv in places().items()}
  return {name: max(float(np.abs(leaf).max()) for leaf in leaves) for name, leaves in found.items()}


def check(kind, scheme):
  sizes = largest(kind, scheme)
  worst = max(sizes, key=lambda name: sizes[name] if np.isfinite(sizes[name]) else np.inf)
  assert sizes[worst] <= TIMES * sizes["generic"], (worst, sizes)


@pytest.mark.parametrize(("kind", "scheme"), QUICK)
def test_no_gradient_explodes(kind, scheme):
  check(kind, scheme)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scheme"), [pair for pair in ALL if pair not in QUICK])
def test_no_gradient_explodes_under_any_scheme(kind, scheme):
  check(kind, scheme)


def check_model(kind, norm):
  """One layer, no positions, tokens of two fields: 0 0 is a zero vector, as where symbol 0 is a symbol like others."""
  settings = {"kind": "gpt", "width": 16, "heads": 2, "depth": 1, "attention": {"kind": kind, **OPTIONS.get(kind, {})}}
  model = realize(lambda: build.model({**settings, "wiring": {"norm": norm}}, Vocabulary((4, 4), 4)))
  graph, params, rest = nnx.split(model, nnx.Param, ...)

  @jax.jit
  @jax.grad
  def gradient(params, symbols_BT):
    tokens_BTC = jnp.stack([symbols_BT, symbols_BT], -1)
    logits_BTRV = nnx.merge(graph, params, rest)(Inputs(tokens_BTC, rows(LENGTH)))[0]
    return -jax.nn.log_softmax(logits_BTRV)[..., 0].mean()

  drawn_BT = np.random.default_rng(0).integers(0, 4, (4, LENGTH), np.int32)
  usual, some, only = (
    np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(jax.device_get(gradient(params, symbols_BT)))))
    for symbols_BT in (np.maximum(drawn_BT, 1), drawn_BT, 0 * drawn_BT)
  )
  # Slopes of norms behind one another multiply: where all is zero, that of the heads' own comes on top of the last's.
  own = EPS**-0.5 if kind == "differential" else 1.0
  assert some <= TIMES * usual
  assert only <= TIMES * own * usual


@pytest.mark.parametrize("norm", NORMS)
def test_no_model_explodes_at_a_token_that_is_zero(norm):
  check_model("cosine", norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [kind for kind in cases.KINDS if kind != "cosine"])
def test_no_model_of_any_mechanism_explodes_at_a_token_that_is_zero(kind, norm):
  check_model(kind, norm)


def test_a_cosine_is_that_of_the_directions_unless_a_vector_is_next_to_nothing():
  made = cases.mechanism("cosine", 1, 1)
  q, k, _ = cases.qkv(1, 1)
  score = np.asarray(made.scores(q, k))
  lengths = np.linalg.norm(q, axis=-1, keepdims=True)
  np.testing.assert_allclose(made.scores(q / lengths * (1.01 * SHORT), k), score, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(made.scores(q / lengths * (0.5 * SHORT), k), score / 2, rtol=1e-4, atol=1e-5)
  assert (np.asarray(made.scores(0 * q, k)) == 0).all()
