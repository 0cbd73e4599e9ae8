"""Reformer's attention by locality-sensitive hashing (Kitaev et al. 2020): o = sum_s w v, w = softmax(q . q_s / |q_s|)
over the s in the bucket of q in some round, where x lies in the bucket argmax [x R, -x R], R random.
"""

import math

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.initial import key_of, seed
from model.kernels import cutting
from model.kernels.softmax import mix, wide_einsum
from model.mask import Mask, Positions

TINY = 1e-6  # the authors': added to the mean square of a key before its root is taken
UNSEEN = -1e30  # finite: -inf - -inf would be NaN where nothing is seen
LAST = 2**31 - 1  # padding is sorted behind every segment


class Lsh(Mechanism):
  """In each round tokens are sorted by bucket and cut into chunks; a token looks at its own chunk and the one before.

  rounds: hashings, each with rotations of its own. buckets: an even number per round; 0 = a power of two, about two
  per chunk of the row. chunk: tokens per chunk. redraw: training steps between new rotations, 0 = never.
  strict: the paper's formula, that is own bucket only, and a key met in several rounds counts once. Otherwise, as in
  the authors' later code and in Transformers, whole chunks are seen, every meeting counts, and the first chunk of a
  round looks back at the last of the round before it.

  A token sees itself only where it sees nothing else. A sequence no longer than a chunk is one bucket, and so dense.
  `over_cache` and `weights` look at all keys of the bucket; `__call__` misses those that the two chunks do not reach,
  and without `strict` sees neighbors from other buckets. With buckets=0 the number of columns sets the buckets, so that
  a cache must have as many slots as the rows had tokens.
  """

  supports = Supports(
    rules=False,
    cross=False,
    tied=True,
    inside=False,
    after=False,
    values=False,
    gqa=False,
    blockwise=False,
    merges=False,
  )
  cost_time = "T rounds D (chunk + sqrt(T / chunk))"
  cost_memory = "T rounds (D + chunk + sqrt(T / chunk))"

  def __init__(
    self,
    heads: int,
    head_dim: int,
    *,
    layer: int = 0,
    rounds: int = 4,
    buckets: int = 0,
    chunk: int = 16,
    strict: bool = True,
    redraw: int = 0,
  ):
    super().__init__(heads, head_dim, layer=layer)
    if rounds < 1:
      raise Refused(f"attention.rounds={rounds} hashes nothing; give at least 1")
    if buckets < 0 or buckets % 2:
      raise Refused(f"attention.buckets={buckets} is not an even number; give one, or 0 to have it chosen")
    if chunk < 1:
      raise Refused(f"attention.chunk={chunk} holds no token; give at least 1")
    if redraw < 0:
      raise Refused(f"attention.redraw={redraw} is no number of steps; give 0 for rotations that stay")
    self.rounds, self.buckets, self.chunk, self.strict, self.redraw = rounds, buckets, chunk, strict, redraw
    self.seed = seed()

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    self.check(scheme, block=block)
    if q_BTKGD.shape[1] <= self.chunk or q_BTKGD.shape[1] != k_BSKD.shape[1]:
      return self.over_cache(q_BTKGD, k_BSKD, v_BSKD, mask, scheme, key)  # one chunk, or with keys of earlier stretches
    return self.by_buckets(q_BTKGD, v_BSKD, mask, self.hash(q_BTKGD[:, :, :, 0], mask.q, mask.q), key), None

  def over_cache(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, key=None):
    w_BKGTS = self.dropped(self.weights(q_BTKGD, k_BSKD, mask, scheme), key)
    return mix(w_BKGTS, v_BSKD).astype(v_BSKD.dtype), None

  def weights(self, q_BTKGD, k_BSKD, mask, scheme=None):
    self.check(scheme)
    q_BTKD, length = q_BTKGD[:, :, :, 0], k_BSKD.shape[1]
    score_BKTS = wide_einsum("btkd,bskd->bkts", q_BTKD, _unit(k_BSKD))
    itself_B1TS = (jnp.asarray(mask.q.pos_BT)[:, :, None] == jnp.asarray(mask.k.pos_BT)[:, None])[:, None]
    seen_B1TS = mask.tile()[:, None]
    other_BKTS = seen_B1TS & ~itself_B1TS
    if length > self.chunk:
      q_BKRT, k_BKRS = (self.hash(x, positions, mask.k) for x, positions in ((q_BTKD, mask.q), (k_BSKD, mask.k)))
      met_BKTS = (q_BKRT[..., :, None] == k_BKRS[..., None, :]).sum(2)
      other_BKTS &= met_BKTS > 0
      score_BKTS += 0.0 if self.strict else jnp.log(jnp.maximum(met_BKTS, 1))
    w_BKTS = jax.nn.softmax(jnp.where(other_BKTS, score_BKTS, UNSEEN))
    w_BKTS = jnp.where(other_BKTS.any(-1, keepdims=True), w_BKTS * other_BKTS, seen_B1TS & itself_B1TS)
    return w_BKTS[:, :, None]

  def by_buckets(self, q_BTKGD, v_BTKD, mask, bucket_BKRT, key=None):
    """The efficient path, (B, T, K, 1, Dv), for given buckets. N counts the chunks of all rounds, C their tokens."""
    positions, own_BKNC, column_BKNC = self._sort(mask.q, bucket_BKRT)
    ones_BTK1 = jnp.ones((*v_BTKD.shape[:3], 1), v_BTKD.dtype)  # as a value, they give the sum of the weights
    sides = (q_BTKGD[:, :, :, 0], jnp.concatenate([v_BTKD, ones_BTK1], -1))
    q_BKNCD, v_BKNCD = (_take(jnp.swapaxes(a_BTKD, 1, 2), column_BKNC) for a_BTKD in sides)
    score_BKNCS = wide_einsum("bkncd,bknsd->bkncs", q_BKNCD, _and_before(_unit(q_BKNCD)))
    seen_BKNCS = self._seen(positions, mask.rule) & (
      column_BKNC[..., :, None] != _and_before(column_BKNC)[..., None, :]
    )
    if self.strict:
      seen_BKNCS &= own_BKNC[..., :, None] == _and_before(own_BKNC)[..., None, :]
      score_BKNCS -= jnp.log(jnp.maximum(_meetings(_take(jnp.moveaxis(bucket_BKRT, 2, 3), column_BKNC)), 1))
    score_BKNCS = jnp.where(seen_BKNCS, score_BKNCS, UNSEEN)
    top_BKNC1 = jax.lax.stop_gradient(score_BKNCS.max(-1, keepdims=True))
    w_BKNCS = jnp.where(seen_BKNCS, jnp.exp(score_BKNCS - top_BKNC1), 0.0).astype(v_BTKD.dtype)
    out_BKNCD = wide_einsum("bkncs,bknsd->bkncd", self.dropped(w_BKNCS, key), _and_before(v_BKNCD))
    if self.key_of_weights(key) is not None:  # the sum is that of all weights
      sum_BKNC1 = w_BKNCS.sum(-1, keepdims=True, dtype=out_BKNCD.dtype)
      out_BKNCD = jnp.concatenate([out_BKNCD[..., :-1], sum_BKNC1], -1)
    out_BTKD, sum_BTK1 = self._join(out_BKNCD, top_BKNC1, column_BKNC, bucket_BKRT.shape[-1])
    itself_BTK1 = (jnp.asarray(mask.q.segment_BT) > 0)[:, :, None, None]
    if (drawn := self.key_of_weights(key)) is not None:
      itself_BTK1 = self.dropped(ones_BTK1 * itself_BTK1, jax.random.fold_in(drawn, 1))
    out_BTKD = jnp.where(sum_BTK1 > 0, out_BTKD / jnp.where(sum_BTK1 > 0, sum_BTK1, 1.0), itself_BTK1 * v_BTKD)
    return out_BTKD[:, :, :, None].astype(v_BTKD.dtype)

  def hash(self, x_BTKD, positions, k_positions):
    """The buckets of vectors, (B, K, R, T); one for all of a sequence that k_positions has no longer than a chunk."""
    wide_BTKD = jax.lax.stop_gradient(x_BTKD).astype(jnp.promote_types(x_BTKD.dtype, jnp.float32))
    factors = self.factors(k_positions.pos_BT.shape[1])
    turned_BKRTF = jnp.einsum("btkd,rkdf->bkrtf", wide_BTKD, self.rotations(sum(factors) // 2))
    bucket_BKRT, start, base = 0, 0, 1
    for factor in factors:
      part_BKRTF = turned_BKRTF[..., start : start + factor // 2]
      bucket_BKRT += base * jnp.argmax(jnp.concatenate([part_BKRTF, -part_BKRTF], -1), -1)
      start, base = start + factor // 2, base * factor
    short_BT = _sizes(positions.segment_BT, k_positions.segment_BT) <= self.chunk
    return jnp.where(short_BT[:, None, None], 0, bucket_BKRT)

  def factors(self, length: int) -> tuple[int, ...]:
    """The buckets for rows of `length` tokens, as factors of their number.

    Where many are chosen from the length, a bucket is a pair of smaller numbers, each hashed by itself, as in the
    authors' code: one hash into all of them would make the cost quadratic.
    """
    if self.buckets:
      return (self.buckets,)
    power = (2 * (length // self.chunk)).bit_length() - 1
    return (2**power,) if 2**power <= 2 * self.chunk else (2 ** (power // 2), 2 ** (power - power // 2))

  def rotations(self, columns: int):
    """Random matrices (R, K, D, F) with F columns; more rounds leave the first as they are."""
    shape = (self.rounds, self.heads, self.head_dim, columns)
    # Drawn flat, rounds first: that compiles in a tenth of the time, and a longer draw starts like a shorter one.
    return jax.random.normal(key_of(self.seed, self.redraw), (math.prod(shape),), jnp.float32).reshape(shape)

  def _sort(self, positions, bucket_BKRT):
    """Where, bucket and column of the tokens sorted by segment, bucket and column, padding last; (B, K, N, C) each."""
    pos_BKRT, segment_BKRT = (jnp.broadcast_to(jnp.asarray(a)[:, None, None], bucket_BKRT.shape) for a in positions)
    rank_BKRT = jnp.where(segment_BKRT > 0, segment_BKRT, LAST)
    column_BKRT = jax.lax.broadcasted_iota(jnp.int32, bucket_BKRT.shape, 3)
    tokens = jax.lax.sort((rank_BKRT, bucket_BKRT, column_BKRT, pos_BKRT, segment_BKRT), num_keys=3)

    def cut(a_BKRT):  # the last chunk of a round is filled up with padding
      a_BKRT = cutting.padded(a_BKRT, cutting.whole(a_BKRT.shape[-1], self.chunk), axis=3)
      return a_BKRT.reshape(*a_BKRT.shape[:2], -1, self.chunk)

    own_BKNC, column_BKNC, pos_BKNC, segment_BKNC = map(cut, tokens[1:])
    return Positions(pos_BKNC, segment_BKNC), own_BKNC, column_BKNC

  def _seen(self, positions, rule):
    """Who sees whom within a chunk and the one before, (B, K, N, C, S)."""
    B, K, N, C = positions.pos_BT.shape
    pos_BKNS, segment_BKNS = map(_and_before, positions)
    if self.strict:  # nothing stands before the first chunk of a round
      first_NS = (jnp.arange(N) % (N // self.rounds) == 0)[:, None] & (jnp.arange(2 * C) < C)
      segment_BKNS = jnp.where(first_NS, 0, segment_BKNS)
    tokens, others = ((a.reshape(B * K * N, -1) for a in side) for side in (positions, (pos_BKNS, segment_BKNS)))
    return Mask(Positions(*tokens), Positions(*others), rule).tile().reshape(B, K, N, C, -1)

  def _join(self, out_BKNCD, top_BKNC1, column_BKNC, length):
    """The rounds in the order of the row and summed up: values (B, T, K, Dv) and weights (B, T, K, 1)."""
    B, K = column_BKNC.shape[:2]
    rows = (B, K * self.rounds, -1)
    undo_BX1T = jnp.argsort(column_BKNC.reshape(rows)[..., :length], -1)[:, :, None]
    out_BKRTD, top_BKRT1 = (
      _take(a.reshape(*rows, a.shape[-1]), undo_BX1T).reshape(B, K, self.rounds, length, -1)
      for a in (out_BKNCD, top_BKNC1)
    )
    share_BKRT1 = jnp.exp(top_BKRT1 - top_BKRT1.max(2, keepdims=True))
    sum_BTKD = jnp.swapaxes((share_BKRT1 * out_BKRTD).sum(2), 1, 2)
    return sum_BTKD[..., :-1], sum_BTKD[..., -1:]


def _take(a_BKTD, column_BKNC):
  """The rows at these columns, (B, K, N, C, D); as rows of one matrix, which compiles fastest."""
  B, K, T, D = a_BKTD.shape
  row_BKNC = column_BKNC + T * jnp.arange(B * K).reshape(B, K, 1, 1)
  return a_BKTD.reshape(B * K * T, D).at[row_BKNC].get(mode="promise_in_bounds")


def _and_before(a_BKNC):
  """Every chunk behind the one before it, (B, K, N, S, ...); the first behind the last."""
  return jnp.concatenate([jnp.roll(a_BKNC, 1, 2), a_BKNC], 3)


def _meetings(bucket_BKNCR):
  """In how many rounds the tokens of a chunk and the one before share a bucket, (B, K, N, C, S)."""
  before_BKNSR = _and_before(bucket_BKNCR)
  pairs = ((bucket_BKNCR[..., r], before_BKNSR[..., r]) for r in range(bucket_BKNCR.shape[-1]))
  return sum((own[..., :, None] == other[..., None, :]).astype(jnp.int32) for own, other in pairs)


def _sizes(segment_BT, of_BS):
  """How many tokens each token's segment has in `of_BS`, (B, T); sorted, because all pairs would be T by S."""
  batch = max(len(segment_BT), len(of_BS))  # one row may stand for all, as where decoding starts
  segment_BT, of_BS = (jnp.broadcast_to(jnp.asarray(a), (batch, a.shape[1])) for a in (segment_BT, of_BS))
  of_BS = jnp.sort(of_BS, -1)
  ends_BX = jax.vmap(jnp.searchsorted)(of_BS, jnp.concatenate([segment_BT, segment_BT + 1], -1))
  first_BT, end_BT = jnp.split(ends_BX, 2, -1)
  return end_BT - first_BT


def _unit(k_BTKD):
  """Keys of length 1: queries keep theirs, which acts as a temperature, but closeness must be what the hash sees."""
  wide_BTKD = k_BTKD.astype(jnp.promote_types(k_BTKD.dtype, jnp.float32))
  square_BTK1 = jnp.mean(wide_BTKD * wide_BTKD, -1, keepdims=True)
  return (wide_BTKD * jax.lax.rsqrt(square_BTK1 + TINY) / k_BTKD.shape[-1] ** 0.5).astype(k_BTKD.dtype)
