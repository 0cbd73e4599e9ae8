"""Attention with a kernel of features, by prefix sums (Katharopoulos et al. 2020): o = f(q) S / f(q) z.

S = sum of f(k) v^T and z = sum of f(k) over the keys seen. The row is cut into chunks of C tokens: inside a chunk the
weights are a C by C product, between chunks the sums are carried on. Time T (C + D) F, memory T (C + F). A row may hold
any number of segments: the sums start anew where another one begins.

`features` maps vectors (..., D) to Features (..., F). Arrays of chunks begin with N, B: chunk, batch. Values carry a
last column of ones, so that z is the last column of S.

Five tokens of two segments, in chunks of two; the sixth place is padding:

    token                 0 1 | 2 3 | 4 -
    segment               1 1 | 1 2 | 2 0
    sums before a chunk    -  | 0 1 |  3

Query 2 meets key 2 inside its chunk and the sums over 0 and 1. Query 3 meets itself alone: the sums before its chunk
are of segment 1. What goes on to the third chunk is of the second one's last segment, so query 4 meets 3 and itself.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels.cutting import padded, stacked, unstacked, whole
from model.kernels.softmax import finite
from model.mask import Mask, causal

BLOCK = 32  # chunks whose sums are carried on by one product; longer rows go from block to block
TINY = 1e-30  # a total weight below it, next to a largest feature of 1, counts as no key at all


class Features(NamedTuple):
  """Nonnegative features value * exp(scale), one scale per vector; to gradients it is a constant.

  A key's scale enters its weight, a query's only the log-sum-exp. No scale reads another token, so that nothing of the
  future can leak through it.
  """

  value: jax.Array
  scale: jax.Array


class State(NamedTuple):
  """The sums over the keys of the last segment, divided by exp(top); segment 0 = nothing was read yet."""

  sum_BKFD: jax.Array
  top_BK: jax.Array
  segment_B: jax.Array


def log_kernel(features, q_BTKGD, k_BSKD):
  """The number log f(q).f(k) for every pair, (B, K, G, T, S); the dense path, for inspection."""
  q, k = features(q_BTKGD), features(k_BSKD)
  kernel_BKGTS = jnp.einsum("btkgf,bskf->bkgts", q.value, k.value)
  some_BKGTS = kernel_BKGTS > 0
  log_BKGTS = jnp.where(some_BKGTS, jnp.log(jnp.where(some_BKGTS, kernel_BKGTS, 1.0)), -jnp.inf)
  q_scale_BKGT1 = jnp.moveaxis(q.scale, 1, 3)[..., None]
  k_scale_BK11S = jnp.moveaxis(k.scale, 1, 2)[:, :, None, None]
  return log_BKGTS + q_scale_BKGT1 + k_scale_BK11S


def attend(features, q_BTKGD, k_BSKD, v_BSKD, mask: Mask, chunk: int):
  """Output (B, T, K, G, D) in v's dtype and log-sum-exp (B, K, G, T), under causal() or everything()."""
  qkv = q_BTKGD, k_BSKD, v_BSKD
  if not _in_order(mask):
    return _in_any_order(features, qkv, mask, chunk)
  segment_BT = _rows(mask.q.segment_BT, v_BSKD.shape[0])
  return _by_chunks(features, qkv, segment_BT, segment_BT, chunk, mask.rule == causal())[:2]


def start(batch: int, kv_heads: int, features: int, value_dim: int, dtype) -> State:
  """The state before the first key."""
  wide = jnp.promote_types(dtype, jnp.float32)
  sum_BKFD = jnp.zeros((batch, kv_heads, features, value_dim + 1), wide)
  top_BK = jnp.full((batch, kv_heads), -jnp.inf, wide)
  return State(sum_BKFD, top_BK, jnp.zeros((batch,), jnp.int32))


def advance(features, state: State, q_BTKGD, k_BSKD, v_BSKD, mask: Mask, chunk: int):
  """(Output (B, T, K, G, D) in q's dtype, state) after new keys, each seen by the queries from its own column on.

  Without keys the state is read. With more or fewer keys than queries they are added first, then it is read: so a
  memory is stored.
  """
  batch, queries = q_BTKGD.shape[:2]
  q_segment_BT = _rows(mask.q.segment_BT, batch)
  if k_BSKD is not None and k_BSKD.shape[1] == queries:
    qkv, k_segment_BS = (q_BTKGD, k_BSKD, v_BSKD), _rows(mask.k.segment_BT, batch)
    out_BTKGD, _, end = _by_chunks(features, qkv, q_segment_BT, k_segment_BS, chunk, True, state)
    return out_BTKGD.astype(q_BTKGD.dtype), end
  if k_BSKD is not None:
    chunk = min(chunk, k_BSKD.shape[1])
    k, v_NBKCD = _keys(features, k_BSKD, v_BSKD, chunk)
    state = _carried(k, v_NBKCD, stacked(_rows(mask.k.segment_BT, batch), chunk), state)[0]
  q, q_segment_NBC = _queries(features, q_BTKGD, queries), stacked(q_segment_BT, queries)
  stored = State(*(a[None] for a in state))
  return _weighed(q, q_segment_NBC, None, [stored], queries)[0].astype(q_BTKGD.dtype), state


def _in_order(mask: Mask) -> bool:
  """True when queries and keys are the same tokens, column by column, and segments stand one after another.

  Traced positions cannot be read: a Mask of the same Positions twice promises what the model's rows keep, that within
  a segment positions rise from column to column.
  """
  if not all(isinstance(a, np.ndarray) for a in (*mask.q, *mask.k)):
    return all(a is b for a, b in zip(mask.q, mask.k, strict=True))
  if not all(np.array_equal(a, b) for a, b in zip(mask.q, mask.k, strict=True)):
    return False
  return all(_rises(*row) for row in zip(*map(np.asarray, mask.q), strict=True))


def _rises(pos_T, segment_T) -> bool:
  pos_T, segment_T = (a[segment_T > 0] for a in (pos_T, segment_T))
  new_T = segment_T[1:] != segment_T[:-1]
  return len(np.unique(segment_T)) == new_T.sum() + (len(segment_T) > 0) and bool((new_T | (np.diff(pos_T) > 0)).all())


def _in_any_order(features, qkv, mask: Mask, chunk):
  """Sorts keys and queries into one row, so that each query stands right behind the keys it sees.

  By segment; then, if causal, by position; then keys before queries.
  """
  q_BTKGD, k_BSKD, v_BSKD = qkv
  batch, keys = v_BSKD.shape[:2]
  segment_BX, pos_BX = (
    jnp.concatenate([_rows(a, batch), _rows(b, batch)], 1)
    for a, b in ((mask.k.segment_BT, mask.q.segment_BT), (mask.k.pos_BT, mask.q.pos_BT))
  )
  asks_BX = jnp.broadcast_to(jnp.arange(segment_BX.shape[1]) >= keys, segment_BX.shape)
  order_BX = jnp.lexsort((asks_BX, pos_BX, segment_BX) if mask.rule == causal() else (asks_BX, segment_BX), axis=1)
  segment_BX, asks_BX = _taken(segment_BX, order_BX), order_BX >= keys
  # Where a key stands there is a query of segment 0, and the other way round: they are masked.
  from_q_BX, from_k_BX = jnp.maximum(order_BX - keys, 0), jnp.minimum(order_BX, keys - 1)
  qkv = _taken(q_BTKGD, from_q_BX), _taken(k_BSKD, from_k_BX), _taken(v_BSKD, from_k_BX)
  q_segment_BX, k_segment_BX = jnp.where(asks_BX, segment_BX, 0), jnp.where(asks_BX, 0, segment_BX)
  out_BXKGD, lse_BKGX, _ = _by_chunks(features, qkv, q_segment_BX, k_segment_BX, chunk, True)
  back_BT = jnp.argsort(order_BX, 1)[:, keys:]
  return _taken(out_BXKGD, back_BT), jnp.moveaxis(_taken(jnp.moveaxis(lse_BKGX, 3, 1), back_BT), 1, 3)


def _taken(a, index_BT):
  """The columns of each row at its own indices."""
  index = index_BT.reshape(*index_BT.shape, *[1] * (a.ndim - 2))
  return jnp.take_along_axis(a, index, 1, mode="promise_in_bounds")


def _by_chunks(features, qkv, q_segment_BT, k_segment_BT, chunk, causally, state: State | None = None):
  """Output in v's dtype, log-sum-exp and the state after the last key; query t and key t share a column.

  causally: a query sees the keys of its segment up to its own column and those of `state`, else all of its segment.
  """
  q_BTKGD, k_BSKD, v_BSKD = qkv
  length = v_BSKD.shape[1]
  chunk = min(chunk, length)
  q, (k, v_NBKCD) = _queries(features, q_BTKGD, chunk), _keys(features, k_BSKD, v_BSKD, chunk)
  q_segment_NBC, k_segment_NBC = stacked(q_segment_BT, chunk), stacked(k_segment_BT, chunk)
  states, end = [], state
  if state is not None or chunk < length:
    _, B, K, _, F = k.value.shape
    empty = start(B, K, F, v_BSKD.shape[-1], k.value.dtype)
    end, before = _carried(k, v_NBKCD, k_segment_NBC, empty if state is None else state)
    states.append(before)
    if not causally:
      states.append(_carried(k, v_NBKCD, k_segment_NBC, empty, reverse=True)[1])
  seen_NBCC = (q_segment_NBC[..., None] == k_segment_NBC[..., None, :]) & (k_segment_NBC[..., None, :] > 0)
  if causally:
    seen_NBCC &= jnp.tri(chunk, dtype=bool)
  out_BTKGD, lse_BKGT = _weighed(q, q_segment_NBC, (k, v_NBKCD, seen_NBCC), states, length)
  return out_BTKGD.astype(v_BSKD.dtype), lse_BKGT, end


def _weighed(q, q_segment_NBC, own, states, length):
  """The mean of the values seen: those of a chunk's own keys (k, v, seen) and those in each state that reaches it.

  Output (B, T, K, G, D) and log-sum-exp (B, K, G, T).
  """
  scales_NBKCX = [_where_seen(q_segment_NBC, state) for state in states]
  if own is not None:
    k, v_NBKCD, seen_NBCC = own
    scales_NBKCX.insert(0, jnp.where(seen_NBCC[:, :, None], k.scale[:, :, :, None], -jnp.inf))
  scale_NBK1CX = jnp.concatenate(scales_NBKCX, -1)[:, :, :, None]
  top_NBK1C = finite(scale_NBK1CX.max(-1))
  share_NBK1CX = jnp.exp(scale_NBK1CX - top_NBK1C[..., None])
  sums_NBKGCD = [
    share_NBK1CX[..., i - len(states), None] * _per_head("nbkxf,nbkfd->nbkxd", q.value, state.sum_BKFD)
    for i, state in enumerate(states)
  ]
  if own is not None:
    w_NBKGCC = share_NBK1CX[..., : seen_NBCC.shape[-1]] * _per_head("nbkxf,nbkcf->nbkxc", q.value, k.value)
    sums_NBKGCD.append(_per_head("nbkxc,nbkcd->nbkxd", w_NBKGCC, v_NBKCD))
  return _divided(sum(sums_NBKGCD), top_NBK1C + q.scale, length)


def _where_seen(q_segment_NBC, state: State):
  """The scale of a state for each query, (N, B, K, C, 1), -inf for those of another segment."""
  seen_NBC = (q_segment_NBC == state.segment_B[..., None]) & (q_segment_NBC > 0)
  return jnp.where(seen_NBC[:, :, None], state.top_BK[..., None], -jnp.inf)[..., None]


def _carried(k, v_NBKCD, k_segment_NBC, state: State, reverse=False) -> tuple[State, State]:
  """The state after all chunks, and before each; in reverse, what stands behind them."""
  sums, chunks = _sums(k, v_NBKCD, k_segment_NBC, reverse), k_segment_NBC.shape[0]
  if chunks <= BLOCK:
    return _through(state, sums, reverse)
  blocks = State(*(padded(a, whole(chunks, BLOCK), 0).reshape(-1, BLOCK, *a.shape[1:]) for a in sums))
  end, before = jax.lax.scan(lambda state, block: _through(state, block, reverse), state, blocks, reverse=reverse)
  return end, State(*(a.reshape(-1, *a.shape[2:])[:chunks] for a in before))


def _through(state: State, sums: State, reverse) -> tuple[State, State]:
  """The same for the chunks of one block, as one product of weights between chunks and sums.

  A new segment starts from nothing, a chunk of padding (segment 0) changes nothing.
  """
  first = State(*(a[None] for a in state))
  all_N = State(*(jnp.concatenate(pair) for pair in zip(*((sums, first) if reverse else (first, sums)), strict=True)))
  at_N = jnp.arange(all_N.segment_B.shape[0])
  reaches_MN = at_N >= at_N[:, None] if reverse else at_N <= at_N[:, None]  # M states, each of them of N sums
  segment_MNB = jnp.where(reaches_MN[..., None], all_N.segment_B, 0)
  segment_M1B = _going_on(segment_MNB, 1, reverse)
  kept_MNB = (segment_MNB == segment_M1B) & (segment_MNB > 0)
  scale_MNBK = jnp.where(kept_MNB[..., None], all_N.top_BK, -jnp.inf)
  top_MBK = scale_MNBK.max(1)
  share_MNBK = jnp.exp(scale_MNBK - finite(top_MBK)[:, None])
  found = State(jnp.einsum("mnbk,nbkfd->mbkfd", share_MNBK, all_N.sum_BKFD), top_MBK, segment_M1B[:, 0])
  end, before = (0, slice(1, None)) if reverse else (-1, slice(-1))
  return State(*(a[end] for a in found)), State(*(a[before] for a in found))


def _sums(k, v_NBKCD, k_segment_NBC, reverse) -> State:
  """The sums over each chunk's last segment (in reverse its first), the one that goes on."""
  goes_on_NB1 = _going_on(k_segment_NBC, 2, reverse)
  kept_NB1C = ((k_segment_NBC == goes_on_NB1) & (k_segment_NBC > 0))[:, :, None]
  scale_NBKC = jnp.where(kept_NB1C, k.scale, -jnp.inf)
  top_NBK = scale_NBKC.max(-1)
  f_NBKCF = k.value * jnp.exp(scale_NBKC - finite(top_NBK)[..., None])[..., None]
  return State(jnp.einsum("nbkcf,nbkcd->nbkfd", f_NBKCF, v_NBKCD), top_NBK, goes_on_NB1[..., 0])


def _going_on(segment, axis, reverse):
  """The segment that stands last along an axis, in reverse first; padding is passed over, 0 = there is nothing else."""
  order = jnp.arange(segment.shape[axis]).reshape(-1, *[1] * (segment.ndim - 1 - axis))
  at = jnp.where(segment > 0, -order if reverse else order, -segment.shape[axis]).argmax(axis, keepdims=True)
  return jnp.take_along_axis(segment, at, axis, mode="promise_in_bounds")


def _divided(sum_NBKGCD, scale_NBKGC, length):
  """Values divided by the total weight, their last column, and the log of that; 0 and -inf where nothing is seen."""
  out_NBKGCD, total_NBKGC = sum_NBKGCD[..., :-1], sum_NBKGCD[..., -1]
  seen_NBKGC = total_NBKGC > TINY
  total_NBKGC = jnp.where(seen_NBKGC, total_NBKGC, 1.0)
  size_NBKGC = jax.lax.stop_gradient(total_NBKGC)  # divided by first, so that no gradient squares a tiny total
  mean_NBKGCD = jnp.where(seen_NBKGC[..., None], out_NBKGCD, 0.0) / size_NBKGC[..., None]
  out_NBKGCD = mean_NBKGCD / (total_NBKGC / size_NBKGC)[..., None]
  lse_NBKGC = jnp.where(seen_NBKGC, jnp.log(total_NBKGC) + scale_NBKGC, -jnp.inf)
  lse_BTKG = unstacked(jnp.moveaxis(lse_NBKGC, 4, 2), length)
  return unstacked(jnp.moveaxis(out_NBKGCD, 4, 2), length), jnp.moveaxis(lse_BTKG, 1, 3)


def _queries(features, q_BTKGD, chunk) -> Features:
  """Value (N, B, K, G, C, F) and scale (N, B, K, G, C)."""
  return features(jnp.moveaxis(stacked(q_BTKGD, chunk), 2, 4))


def _keys(features, k_BSKD, v_BSKD, chunk):
  """Value (N, B, K, C, F) and scale (N, B, K, C); values (N, B, K, C, D) with a column of ones."""
  k = features(jnp.moveaxis(stacked(k_BSKD, chunk), 2, 3))
  v_NBKCD = jnp.moveaxis(stacked(v_BSKD.astype(k.value.dtype), chunk), 2, 3)
  return k, jnp.concatenate([v_NBKCD, jnp.ones_like(v_NBKCD[..., :1])], -1)


def _per_head(spec, left_NBKGC, right):
  """A product with the queries of a group one after another: a further index would cost twice the time on CPU."""
  N, B, K, G, C, _ = left_NBKGC.shape
  left_NBKX = left_NBKGC.reshape(N, B, K, G * C, -1)
  return jnp.einsum(spec, left_NBKX, right).reshape(N, B, K, G, C, -1)


def _rows(a_BT, batch):
  return jnp.broadcast_to(jnp.asarray(a_BT, jnp.int32), (batch, a_BT.shape[1]))
