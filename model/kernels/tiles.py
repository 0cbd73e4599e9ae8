"""Attention of blocks of queries over chosen blocks of keys, a few tiles at a time, forward and backward.

Tiles that fit into a step are worked on at once. A longer row is scanned: the backward pass computes each tile again
and adds to the gradients of the keys in place, so that only inputs and results grow with the row, whatever the number
of blocks chosen. What is scanned cannot be differentiated forward (jvp).

Six tokens in blocks of two, where each block of queries meets the block before it and its own:

    keys       0 1 | 2 3 | 4 5
    at_RNJ     [[[0, 0], [0, 1], [1, 2]]]
    some_RNJ   [[[False, True], [True, True], [True, True]]]
    chosen     0 1 0 1 | 0 1 2 3 | 2 3 4 5

Queries 4 and 5 work on keys 2 to 5. The first two keys of the first tile are there for the shape: `some_RNJ` makes them
segment 0, which nobody sees.
"""

import functools

import jax
import jax.numpy as jnp

from model.kernels import softmax
from model.kernels.cutting import cut, joined, padded
from model.mask import Both, Causal, Either, Mask, Positions, Rule

STEP = {"cpu": 2**16}  # scores in the tiles of one step: those of a core's cache, or of a GPU's share of memory
STEP_ELSEWHERE = 2**24


def attend(
  mechanism, q_BTKGD, k_BSKD, v_BSKD, mask: Mask, at_RNJ, some_RNJ, size: int, scheme=None, apart=None, key=None
):
  """Attention of N blocks of queries, the n-th over the J blocks of `size` keys at_RNJ[:, n] where some_RNJ holds.

  The columns of queries and keys are cut evenly; R is the batch or 1. apart: dresses the position scheme for a tile of
  the shape given. key: of dropout on the weights, each block of queries has its own of it; None = evaluation.
  Returns output (B, T, K, G, Dv) and log-sum-exp (B, K, G, T), as Mechanism.__call__ does.
  """
  B, T, K, G, _ = q_BTKGD.shape
  N, J = at_RNJ.shape[1:]
  parts, tree = jax.tree.flatten((mechanism, scheme))

  def tile(parts, queries, keys):
    (q_BTKGD, pos_BT, segment_BT, some_BJ, *words), (k_BSKD, v_BSKD, pos_BS, segment_BS, *mark) = queries, keys
    mechanism, scheme = jax.tree.unflatten(tree, parts)
    k_positions = Positions(pos_BS, jnp.where(jnp.repeat(some_BJ, size, 1), segment_BS, 0))
    dressed = scheme if apart is None else apart(scheme, (q_BTKGD.shape[1], k_BSKD.shape[1]))
    tile_mask = Mask(Positions(pos_BT, segment_BT), k_positions, mask.rule, *mark)
    key = jax.random.wrap_key_data(words[0][0]) if words else None
    return softmax.attend(mechanism, q_BTKGD, k_BSKD, v_BSKD, tile_mask, dressed, key=key)

  at_RNJ, some_RNJ = jnp.asarray(at_RNJ, jnp.int32), jnp.asarray(some_RNJ)
  queries = [*(cut(a, T // N) for a in (q_BTKGD, *mask.q)), some_RNJ]
  if (drawn := mechanism.key_of_weights(key)) is not None:
    queries.append(jax.random.key_data(jax.random.split(drawn, N))[None])
  mark = [] if mask.mark_BS is None else [mask.mark_BS]
  keys = [cut(a, size) for a in (k_BSKD, v_BSKD, *mask.k, *mark)]
  scores = B * K * G * T // N * J * size
  per_step = max(1, STEP.get(jax.default_backend(), STEP_ELSEWHERE) // scores)
  out_BNbKGD, lse_BKGNb = _tiles(tile, parts, queries, keys, at_RNJ, per_step)
  return joined(out_BNbKGD, 1), joined(lse_BKGNb, 3)


def looks_back(rule: Rule) -> bool:
  """Whether the rule can be seen to forbid every key after the query."""
  if isinstance(rule, Both):
    return looks_back(rule.first) or looks_back(rule.second)
  if isinstance(rule, Either):
    return looks_back(rule.first) and looks_back(rule.second)
  return isinstance(rule, Causal)


def chosen(a, at_RNJ):
  """Blocks (B|1, M, size, ...) as (B|1, N, J * size, ...)."""
  return joined(a.at[_index(a, at_RNJ)].get(mode="promise_in_bounds"), 2)


def _tiles(tile, parts, queries, keys, at_RNJ, per_step):
  """tile(parts, a block of queries, its blocks of keys) for all blocks.

  Leaves of queries are (B|1, N, ...), of keys (B|1, M, size, ...); results are stacked along axes 1 and 3.
  """
  blocks = at_RNJ.shape[1]
  if blocks <= per_step:
    return _stacked(tile, parts, queries, [chosen(a, at_RNJ) for a in keys])
  steps = -(-blocks // per_step)
  n = -(-blocks // steps)
  queries, at_RNJ = [padded(a, steps * n) for a in queries], padded(at_RNJ, steps * n)
  groups = [_parted(group) for group in (parts, queries, keys)]
  floats, others = (tuple(group[side] for group in groups) for side in (0, 1))
  out_BNbKGD, lse_BKGNb = _scanned(tile, n, floats, others, at_RNJ)
  return out_BNbKGD[:, :blocks], lse_BKGNb[:, :, :, :blocks]


def _stacked(tile, parts, queries, keys):
  return jax.vmap(tile, in_axes=(None, 1, 1), out_axes=(1, 3))(parts, queries, keys)


def _scan(tile, n, floats, others, at_RNJ):
  """The tiles, n at a time. floats, others: parts, queries and keys that have a gradient, and that have none."""

  def step(_, i):
    small = zip(*(_piece(n, group, at_RNJ, i) for group in (floats, others)), strict=True)
    return None, _stacked(tile, *(_whole(*group) for group in small))

  _, (out, lse) = jax.lax.scan(step, None, jnp.arange(at_RNJ.shape[1] // n))
  return joined(jnp.moveaxis(out, 0, 1), 1), joined(jnp.moveaxis(lse, 0, 3), 3)


def _forward(tile, n, floats, others, at_RNJ):
  return _scan(tile, n, floats, others, at_RNJ), (floats, others, at_RNJ)


def _backward(tile, n, kept, by_result):
  floats, others, at_RNJ = kept

  def step(sums, i):
    fixed, at_RnJ = _piece(n, others, at_RNJ, i), _slice(at_RNJ, n, i)

    def again(*small):
      return _stacked(tile, *(_whole(*group) for group in zip(small, fixed, strict=True)))

    _, pull = jax.vjp(again, *_piece(n, floats, at_RNJ, i))
    by_parts, by_queries, by_keys = pull((_slice(by_result[0], n, i), _slice(by_result[1], n, i, 3)))
    sums = jax.tree.map(jnp.add, sums[0], by_parts), jax.tree.map(lambda a, b: _added(a, b, at_RnJ), sums[1], by_keys)
    return sums, by_queries

  nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.promote_types(a.dtype, jnp.float32)), (floats[0], floats[2]))
  (by_parts, by_keys), by_queries = jax.lax.scan(step, nothing, jnp.arange(at_RNJ.shape[1] // n))
  by_queries = jax.tree.map(lambda a: joined(jnp.moveaxis(a, 0, 1), 1), by_queries)
  by_floats = jax.tree.map(lambda a, by: by.astype(a.dtype), floats, (by_parts, by_queries, by_keys))
  return by_floats, None, None


_scanned = jax.custom_vjp(_scan, nondiff_argnums=(0, 1))
_scanned.defvjp(_forward, _backward)


def _piece(n, group, at_RNJ, i):
  """What step i works on: all parts, n blocks of queries, and the blocks of keys chosen for them."""
  parts, queries, keys = group
  at_RnJ = _slice(at_RNJ, n, i)
  pick = functools.partial(chosen, at_RNJ=at_RnJ)
  return parts, jax.tree.map(lambda a: _slice(a, n, i), queries), jax.tree.map(pick, keys)


def _slice(a, n, i, axis=1):
  return jax.lax.dynamic_slice_in_dim(a, i * n, n, axis)


def _added(a, by, at_RNJ):
  """Undoes `chosen`: adds (B|1, N, J * size, ...) to the blocks where it came from."""
  by = by.reshape(*by.shape[:2], at_RNJ.shape[-1], -1, *by.shape[3:])
  return a.at[_index(a, at_RNJ)].add(by.astype(a.dtype), mode="promise_in_bounds")


def _index(a, at_RNJ):
  return (slice(None), at_RNJ[0]) if at_RNJ.shape[0] == 1 else (jnp.arange(a.shape[0])[:, None, None], at_RNJ)


def _parted(group):
  """The same list twice: with the floating-point arrays alone, None for others; and the other way round."""
  floats = [jnp.issubdtype(jnp.asarray(a).dtype, jnp.inexact) for a in group]
  return tuple(
    [a if is_float == side else None for a, is_float in zip(group, floats, strict=True)] for side in (True, False)
  )


def _whole(floats, others):
  return [a if b is None else b for a, b in zip(floats, others, strict=True)]
