"""What the attention tests share: kinds found on disk, random inputs, packed rows, toy position terms."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import model.attention
from model import build
from model.initial import realize
from model.mask import Mask, Positions, causal
from model.position.scheme import Position
from tests import contract

KINDS = contract.kinds("attention")
SUPPORTS = {kind: build.resolve("attention", kind).supports for kind in KINDS}
FOLDER = Path(model.attention.__file__).parent
B, T, D = 2, 16, 8  # of the packed case
GROUPINGS = {"mha": (3, 1), "gqa": (2, 2), "mqa": (1, 4)}  # (K, G)


def able(**wanted):
  """The kinds that support all that is wanted."""
  return [kind for kind in KINDS if all(getattr(SUPPORTS[kind], name) == value for name, value in wanted.items())]


def groupings(kind):
  """Names of GROUPINGS that a kind can do."""
  return list(GROUPINGS) if SUPPORTS[kind].gqa else ["mha"]


def usual(kind):
  """(K, G) of tests that need one grouping only: grouped where it can be, else four heads."""
  return (2, 2) if SUPPORTS[kind].gqa else (4, 1)


def paths(kind):
  """Numbers of keys per block: dense, and blocks that do not divide 16 keys."""
  return [None, 5] if SUPPORTS[kind].blockwise else [None]


def given(kind, kv_heads, groups, **sizes):
  """Queries, keys and values as the kind takes them: tied keys are the queries."""
  q, k, v = qkv(kv_heads, groups, **sizes)
  return (q, q[:, :, :, 0], v) if SUPPORTS[kind].tied else (q, k, v)


@functools.cache
def mechanism(kind, kv_heads, groups, head_dim=D, seed=0, **options):
  """A drawn mechanism; its biases and gains are shaken, or they would hide behind 0 and 1."""
  made = realize(
    lambda: build.make("attention", {"kind": kind, **options}, heads=kv_heads * groups, head_dim=head_dim, layer=0),
    seed,
  )
  rng = np.random.default_rng(seed)
  for _, variable in nnx.to_flat_state(nnx.state(made, nnx.Param)):
    if variable.get_metadata("role") in ("bias", "gain"):
      variable[...] += jnp.asarray(rng.normal(size=variable.shape) * 0.3, jnp.float32)
  return made


class Solved(NamedTuple):
  """All that the tests ask of one attention call, as numpy."""

  out: np.ndarray  # (B, T, K, G, Dv)
  lse: np.ndarray  # (B, K, G, T)
  weights: np.ndarray  # (B, K, G, T, S)
  grads: tuple  # of sum(out * target) by q, k and v


def solve(made, qkv, mask, target=1.0, block=None):
  """Everything in one program of few shapes: compiling is what costs time in these tests."""
  return jax.device_get(_solve(made, qkv, mask, np.asarray(target, np.float32), block))


def run(made, qkv, mask, scheme=None, block=None):
  """Output and log-sum-exp alone, under a position scheme."""
  return jax.device_get(_run(made, qkv, mask, scheme, block))


def over_cache(made, qkv, mask, scheme=None):
  """Output alone, as over a cache of keys in any order."""
  return jax.device_get(_over_cache(made, qkv, mask, scheme))


@jax.jit
def _over_cache(made, qkv, mask, scheme):
  return made.over_cache(*qkv, mask, scheme)[0]


@functools.partial(jax.jit, static_argnames="block")
def _run(made, qkv, mask, scheme, block):
  return made(*qkv, mask, scheme, block=block)


@functools.partial(jax.jit, static_argnames="block")
def _solve(made, qkv, mask, target, block):
  def loss(qkv):
    out_BTKGD, lse_BKGT = made(*qkv, mask, block=block)
    wide_BTKGD = out_BTKGD.astype(jnp.promote_types(out_BTKGD.dtype, jnp.float32))
    return (wide_BTKGD * target).sum(), (out_BTKGD, lse_BKGT)

  grads, (out, lse) = jax.grad(loss, has_aux=True)(tuple(qkv))
  weights = None if made.supports.weights == "none" else made.weights(*qkv[:2], mask)
  return Solved(out, lse, weights, grads)


def numbers(made):
  """The mechanism's parameters and dials as {name: float64 array}."""
  return {str(path[-1]): np.asarray(v[...], np.float64) for path, v in nnx.to_flat_state(nnx.state(made))}


def qkv(kv_heads, groups, *, batch=B, queries=T, keys=T, head_dim=D, value_dim=D, seed=0, dtype=np.float32):
  """Standard normal queries, keys and values; numpy, because each jax operation on them would be compiled."""
  rng = np.random.default_rng(seed)
  shapes = (
    (batch, queries, kv_heads, groups, head_dim),
    (batch, keys, kv_heads, head_dim),
    (batch, keys, kv_heads, value_dim),
  )
  return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def whole(start=0):
  """Two rows of one document of 16 tokens each."""
  return Positions(np.broadcast_to(np.arange(16, dtype=np.int32) + start, (2, 16)), np.ones((2, 16), np.int32))


def packed():
  """Row 0: documents of 5 and 8 tokens, then padding; row 1: one document of 16."""
  pos = np.array([[*range(5), *range(8), 0, 0, 0], [*range(16)]], np.int32)
  segment = np.array([[1] * 5 + [2] * 8 + [0] * 3, [1] * 16], np.int32)
  return Positions(pos, segment)


def self_mask(positions, rule=None):
  """Who sees whom among the tokens at `positions`."""
  return Mask(positions, positions, causal() if rule is None else rule)


class After(Position):
  """A bias per head and distance (T5)."""

  def __init__(self, heads, seed=0):
    self.table_HR = jnp.asarray(np.random.default_rng(seed).normal(size=(heads, 9)), jnp.float32)

  def after(self, q_positions, k_positions):
    return jnp.moveaxis(self.table_HR[:, _distance(q_positions, k_positions)], 0, 1)


class Inside(Position):
  """A vector per distance against the query (Shaw's keys)."""

  def __init__(self, head_dim, seed=0):
    self.table_RD = jnp.asarray(np.random.default_rng(seed).normal(size=(9, head_dim)), jnp.float32)

  def inside(self, q_BTKGD, k_BSKD, q_positions, k_positions):
    tile = self.table_RD[_distance(q_positions, k_positions)]
    return jnp.einsum("btkgd,btsd->bkgts", q_BTKGD, jnp.broadcast_to(tile, (q_BTKGD.shape[0], *tile.shape[1:])))


class Values(Position):
  """A vector per distance in the output (Shaw's values)."""

  def __init__(self, head_dim, seed=1):
    self.table_RD = jnp.asarray(np.random.default_rng(seed).normal(size=(9, head_dim)), jnp.float32)

  def values(self, w_BKGTS, q_positions, k_positions):
    tile = self.table_RD[_distance(q_positions, k_positions)]
    return jnp.einsum("bkgts,btsd->btkgd", w_BKGTS, jnp.broadcast_to(tile, (w_BKGTS.shape[0], *tile.shape[1:])))


def _distance(q_positions, k_positions):
  return jnp.clip(jnp.asarray(k_positions.pos_BT)[:, None, :] - jnp.asarray(q_positions.pos_BT)[:, :, None], -4, 4) + 4


def terms(heads, head_dim):
  """One scheme per hook, by the hook's name."""
  return {"after": After(heads), "inside": Inside(head_dim), "values": Values(head_dim)}


def schemes(made, grouping):
  """No scheme, and for grouped queries every toy scheme that the mechanism has a place for."""
  if grouping != "gqa":
    return [None]
  heads = GROUPINGS[grouping][0] * GROUPINGS[grouping][1]
  return [None, *(term for name, term in terms(heads, D).items() if getattr(made.supports, name))]
