"""Additive scores v.tanh(q + k + b) beside dot products q.k: operations, evenness, and the hidden layer they are.

Operations are XLA's count of the lowered function; a tanh costs as many as the caller says (Bahdanau et al. 2015,
Vaswani et al. 2017, 3.2.1).
"""

import itertools
from collections.abc import Callable, Iterator
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples, attention, call, cases, distance, entropy, softmax
from model import build, initial, mask
from model.heads import Heads

LENGTHS = (16, 256)
WIDTHS = (8, 64, 512)
PRICES = (1, 20)  # operations per tanh, from a table to a polynomial with a division


def layers() -> Samples:
  """ADD-2: operations of additive over dot-product attention, over lengths and key widths, by the price of a tanh.

  "layer": with the projections of a layer as wide as its one head. "core": scores, softmax and weighted sum alone.
  """
  samples = Samples()
  for price in PRICES:
    cores = []
    for length, width in itertools.product(LENGTHS, WIDTHS):
      layer, core = (ratio(count, length, width, price) for count in (_layer, _core))
      samples.add(**{f"layer, {price} per tanh": layer, f"core, {price} per tanh": core})
      cores.append(core)
    samples.add(**{f"largest over smallest core, {price} per tanh": max(cores) / min(cores)})
  return samples


def ratio(count: Callable, length: int, width: int, price: float) -> float:
  """Operations of additive over dot-product attention; softmax has the same in both, at 1 per exponential."""
  (dot, exponentials), (additive, transcendentals) = (count(kind, length, width) for kind in ("dot", "additive"))
  return (additive + exponentials + price * (transcendentals - exponentials)) / (dot + exponentials)


@cache
def _layer(kind: str, length: int, width: int) -> tuple[float, float]:
  heads = nnx.eval_shape(partial(Heads, width, heads=1, mechanism={"kind": kind}))
  x_BTM = jax.ShapeDtypeStruct((1, length, width), jnp.float32)
  return operations(lambda heads, x_BTM: heads(x_BTM, x_BTM, _all(length))[0], heads, x_BTM)


@cache
def _core(kind: str, length: int, width: int) -> tuple[float, float]:
  mechanism = _mechanism(kind, width)
  q_BTKGD, k_BSKD = _vectors(length, width)
  return operations(lambda mechanism, q, k, v: mechanism(q, k, v, _all(length))[0], mechanism, q_BTKGD, k_BSKD, k_BSKD)


def _mechanism(kind: str, width: int):
  return nnx.eval_shape(lambda: build.make("attention", {"kind": kind}, heads=1, head_dim=width, layer=0))


def _all(length: int) -> mask.Mask:
  return mask.Mask(mask.rows(length), mask.rows(length), mask.everything())


def _vectors(length: int, width: int):
  shapes = ((1, length, 1, 1, width), (1, length, 1, width))
  return tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)


def operations(function: Callable, module, *shapes) -> tuple[float, float]:
  """(arithmetic operations, transcendental functions) of function(module, *arrays); nothing is compiled."""
  graphdef, state = nnx.split(module)
  lowered = jax.jit(lambda state, *inputs: function(nnx.merge(graphdef, state), *inputs)).lower(state, *shapes)
  counted = lowered.cost_analysis() or {}
  return float(counted["flops"]), float(counted.get("transcendentals", 0.0))


def exponents() -> Samples:
  """ADD-3: exponent of the operations per score in the key width, octave by octave from 128 to 1024.

  Vectors given: queries and keys are already projected, once per token. Projected anew: every pair pays for W [q; k]
  (or, for the dot product, for its two projections).
  """
  samples = Samples()
  for name, of_pairs in PER_SCORE.items():
    counts = [of_pairs(width) for width in (128, 256, 512, 1024)]
    for below, above in itertools.pairwise(counts):
      samples.add(**{name: np.log2(above / below)})
  return samples


def _per_score(kind: str, width: int) -> float:
  q_BTKGD, k_BSKD = _vectors(8, width)
  counted = operations(lambda mechanism, q, k: mechanism.scores(q, k), _mechanism(kind, width), q_BTKGD, k_BSKD)
  return sum(counted) / 64


def _joined_per_score(width: int) -> float:
  def scores(params, q_TD, k_SD):
    w_ED, b_D, v_D = params
    pair_TSE = jnp.concatenate(jnp.broadcast_arrays(q_TD[:, None], k_SD[None]), -1)
    return jnp.tanh(pair_TSE @ w_ED + b_D) @ v_D

  return _count(scores, [(2 * width, width), (width,), (width,)], width)


def _projected_dot_per_score(width: int) -> float:
  def scores(params, q_TD, k_SD):
    q_TSD, k_TSD = jnp.broadcast_arrays(q_TD[:, None], k_SD[None])
    return ((q_TSD @ params[0]) * (k_TSD @ params[1])).sum(-1)

  return _count(scores, [(width, width)] * 2, width)


def _count(scores, shapes, width: int) -> float:
  params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  vectors = [jax.ShapeDtypeStruct((8, width), jnp.float32)] * 2
  counted = jax.jit(scores).lower(params, *vectors).cost_analysis() or {}
  return (counted["flops"] + counted.get("transcendentals", 0.0)) / 64


PER_SCORE: dict[str, Callable[[int], float]] = {
  "dot, vectors given": partial(_per_score, "dot"),
  "additive, vectors given": partial(_per_score, "additive"),
  "dot, projected anew": _projected_dot_per_score,
  "additive, projected anew": _joined_per_score,
}


def addition() -> Samples:
  """ADD-7: operations per pair over those of a dot product: of the sum q + k alone, and of the whole score."""
  samples = Samples()
  for width in WIDTHS:
    dot = _per_pair(lambda q_TD, k_SD: q_TD @ k_SD.T, width)
    samples.add(**{"sum alone": _per_pair(lambda q_TD, k_SD: q_TD[:, None] + k_SD[None], width) / dot})
    for price in PRICES:
      samples.add(**{f"whole score, {price} per tanh": _whole(width, price) / dot})
  return samples


def _per_pair(function, width: int) -> float:
  return _count(lambda params, q_TD, k_SD: function(q_TD, k_SD), [], width)


def _whole(width: int, price: float) -> float:
  q_BTKGD, k_BSKD = _vectors(8, width)
  flops, tanhs = operations(
    lambda mechanism, q, k: mechanism.scores(q, k), _mechanism("additive", width), q_BTKGD, k_BSKD
  )
  return (flops + price * tanhs) / 64


def hidden_layer() -> Samples:
  """ADD-8: the layer's additive scores against a network with one hidden layer on the joined inputs.

  W = [W_Q; W_K], hidden units tanh(W [x; m] + b), output weights v: nothing of the layer's own code is used.
  """
  samples = Samples()
  for case in cases(partial(attention, mechanism={"kind": "additive"})):
    (heads,) = case.modules
    found_BHTS = call(_scores, heads, case.x_BTM, case.other_BTM)[:, :, 0]
    for head in range(case.shape.heads):
      w_ED = np.concatenate([np.asarray(heads.query[...])[:, head, 0], np.asarray(heads.key[...])[:, head]])
      b_D, v_D = (np.asarray(leaf[...])[head] for leaf in (heads.mechanism.bias, heads.mechanism.readout))
      x_BTSM, m_BTSM = np.broadcast_arrays(case.x_BTM[:, :, None], case.other_BTM[:, None])
      network_BTS = np.tanh(np.concatenate([x_BTSM, m_BTSM], -1) @ w_ED + b_D) @ v_D
      samples.add(difference=distance(found_BHTS[:, head], network_BTS))
      samples.add(difference_without_the_hidden_layer=distance(found_BHTS[:, head], _linear(x_BTSM, m_BTSM, w_ED, v_D)))
  return samples


def _linear(x_BTSM, m_BTSM, w_ED, v_D):
  return np.concatenate([x_BTSM, m_BTSM], -1) @ w_ED @ v_D


def _scores(heads, x_BTM, memory_BSM):
  q_BTKGD, k_BSKD = jnp.tensordot(x_BTM, heads.query[...], 1), jnp.tensordot(memory_BSM, heads.key[...], 1)
  return heads.mechanism.scores(q_BTKGD, k_BSKD)


def evenness() -> Samples:
  """ADD-6a: entropy of the first weights over 16 keys, as a share of log 16, eight drawn heads a seed, by key width."""
  samples = Samples()
  for seed, width in itertools.product(range(100, 112), (8, 32, 128)):
    for name, score_BHTS in _first_scores(seed, width):
      share = entropy(softmax(score_BHTS.astype(np.float64))).mean() / np.log(score_BHTS.shape[-1])
      samples.add(**{f"{name}, {width}": share})
  return samples


def _first_scores(seed: int, width: int) -> Iterator[tuple[str, np.ndarray]]:
  """Scores (B, H, T, S) of 16 normalized sequences of 16 tokens under each mechanism, with the same projections."""
  x_BTM = np.random.default_rng([6, seed]).standard_normal((16, 16, 32), dtype=np.float32)
  x_BTM = (x_BTM - x_BTM.mean(-1, keepdims=True)) / x_BTM.std(-1, keepdims=True)
  for name, options in MECHANISMS.items():
    heads = initial.realize(partial(Heads, 32, heads=8, head_dim=width, value_dim=1, mechanism=options), seed)
    yield name, call(_scores, heads, x_BTM, x_BTM)[:, :, 0]


MECHANISMS = {
  "additive": {"kind": "additive"},
  "scaled dot": {"kind": "dot"},
  "unscaled dot": {"kind": "dot", "scale": 1.0},
}
