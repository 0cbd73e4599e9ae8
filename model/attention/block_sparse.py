"""Attention by a sparse pattern (BigBird, Zaheer et al. 2020; Sparse Transformer, Child et al. 2019): o = sum_s w v_s,
w = softmax(q . k_s / sqrt(D)) over the s that the pattern shows to q.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.initial import dial, key_of, seed
from model.kernels import cutting, grid, softmax, tiles
from model.kernels.softmax import attend, products
from model.mask import Mask, Positions, Rule, window

PATTERNS = ("bigbird", "strided", "fixed")
FAR = 2**30  # beyond every position


class BlockSparse(Mechanism):
  """Every document is cut into blocks of `block_size` tokens, counted from its first token in sight.

  pattern: "bigbird" shows the block itself and its two neighbors, the first and the last `globals` blocks, which also
  see everything themselves, and `random` further blocks, drawn once per layer for all heads together; in causal
  attention nothing is last, and what is random lies before.
  "strided" shows the keys less than block_size tokens away, and all at multiples of block_size.
  "fixed" shows the block itself, and the last `columns` tokens of every block. In causal attention both are the
  authors' patterns merged into one head.
  The cost of bigbird is that of W keys per query, W = block_size (3 + 2 globals + random); that of the other two is
  least with a block_size near the root of the row's length, for "fixed" times the root of `columns`.
  A row hardly longer than what one query sees is worked on as a whole. Where bigbird and fixed do not see by numpy
  segments that documents begin where blocks do, they make room by doubling the row.
  """

  supports = Supports(cross=False, blockwise=False)
  cost_time = "T W D; strided, fixed: T sqrt(T) D"
  cost_memory = "T D"

  def __init__(
    self,
    heads: int,
    head_dim: int,
    *,
    layer: int = 0,
    pattern: str = "bigbird",
    block_size: int = 64,
    globals: int = 1,
    random: int = 3,
    columns: int = 8,
    scale: float | None = None,
  ):
    super().__init__(heads, head_dim, layer=layer)
    _check(pattern, block_size, globals, random, columns)
    self.pattern, self.block_size = pattern, int(block_size)
    self.globals, self.random, self.columns = int(globals), int(random), int(columns)
    self.counts = pattern != "strided"
    self.seed = seed() if pattern == "bigbird" and random else None
    self.scale = dial(head_dim**-0.5 if scale is None else scale)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    score_BKGTS = products((self.scale[...] * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)
    return score_BKGTS if isinstance(inside, float) else score_BKGTS + self.scale[...] * inside

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    self.check(scheme, block=block)
    length, pattern = q_BTKGD.shape[1], self._pattern(mask.rule)
    if length != k_BSKD.shape[1] or length <= pattern.enough():
      return attend(self, q_BTKGD, k_BSKD, v_BSKD, self.own_mask(mask), scheme, key=key)
    out_BTKGD, lse_BKGT = pattern.attend(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, key)
    return out_BTKGD.astype(v_BSKD.dtype), lse_BKGT

  def own_mask(self, mask):
    return Mask(mask.q, mask.k, mask.rule & self._pattern(mask.rule), mask.mark_BS)

  def _pattern(self, rule: Rule):
    if self.pattern == "strided":
      return Strided(self.block_size, tiles.looks_back(rule))
    if self.pattern == "fixed":
      return Fixed(self.block_size, self.columns)
    key = None if self.seed is None else key_of(self.seed)
    return BigBird(self.block_size, self.globals, self.random, tiles.looks_back(rule), key)


@dataclasses.dataclass(frozen=True)
class Strided(Rule):
  """Keys less than `size` positions away, or any multiple of `size`."""

  size: int
  back: bool

  def __call__(self, q, k, mark_BS=None):
    ahead_BTS = k.pos_BT[:, None, :] - q.pos_BT[:, :, None]
    return (jnp.abs(ahead_BTS) < self.size) | (ahead_BTS % self.size == 0)

  def enough(self):
    """The longest row that is looked at as a whole."""
    return 2 * self.size

  def attend(self, mechanism, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, key):
    """The band, then the tokens whose distance is a multiple of the stride, brought together: two disjoint sets."""
    length = q_BTKGD.shape[1]
    blocks = -(-length // self.size)
    rows = q_BTKGD, k_BSKD, v_BSKD, *mask.q, *mask.k, mask.mark_BS
    rows = jax.tree.map(lambda a: cutting.padded(jnp.asarray(a), blocks * self.size), rows)
    near_NJ = np.arange(blocks)[:, None] + np.array([-1, 0] if self.back else [-1, 0, 1])
    at_1NJ, some_1NJ = near_NJ.clip(0, blocks - 1)[None], ((near_NJ >= 0) & (near_NJ < blocks))[None]
    q, k, v, band = _mask(rows, mask.rule & window(self.size))
    near = tiles.attend(mechanism, q, k, v, band, at_1NJ, some_1NJ, self.size, scheme, key=key)
    columns = jax.tree.map(lambda a: cutting.joined(jnp.swapaxes(cutting.cut(a, self.size), 1, 2), 1), rows)
    q, k, v, others = _mask(columns, mask.rule & ~window(1))
    own_1N1 = np.arange(self.size, dtype=np.int32)[None, :, None]
    out, lse = tiles.attend(mechanism, q, k, v, others, own_1N1, own_1N1 >= 0, blocks, scheme, key=_other(key))
    out = cutting.joined(jnp.swapaxes(cutting.cut(out, blocks), 1, 2), 1)
    lse = cutting.joined(jnp.swapaxes(lse.reshape(*lse.shape[:3], self.size, blocks), 3, 4), 3)
    out_BTKGD, lse_BKGT = softmax.merge([near, (out, lse)])
    return out_BTKGD[:, :length], lse_BKGT[..., :length]


@dataclasses.dataclass(frozen=True)
class Fixed(Rule):
  """Keys of the query's block, and the last `columns` of every block."""

  size: int
  columns: int

  def __call__(self, q, k, mark_BS=None):
    q_BT1, k_BTS, _ = _offsets(q, k)
    return (q_BT1 // self.size == k_BTS // self.size) | (k_BTS % self.size >= self.size - self.columns)

  def enough(self):
    """The longest row that is looked at as a whole."""
    return 2 * self.size

  def attend(self, mechanism, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, key):
    """What of the block is not in its last columns; and these, of all blocks, in blocks of their own."""
    plan = grid.lay(mask.q, self.size)
    q, k, v, mask = _mask(grid.spread(plan, (q_BTKGD, k_BSKD, v_BSKD, *mask.q, *mask.k, mask.mark_BS)), mask.rule)
    is_last_S = np.arange(plan.blocks * self.size) % self.size >= self.size - self.columns
    segment_BS = jnp.where(is_last_S, 0, mask.k.segment_BT)
    more = -(-plan.blocks * self.columns // self.size)
    keys = k, v, mask.k.pos_BT, segment_BS, mask.mark_BS
    last = jax.tree.map(self._last, (k, v, *mask.k, mask.mark_BS))
    length = (plan.blocks + more) * self.size
    keys = jax.tree.map(lambda a, b: cutting.padded(jnp.concatenate([a, b], 1), length), keys, last)
    k, v, pos_BS, segment_BS, mark_BS = keys
    at_NJ = np.array([[n, *range(plan.blocks, plan.blocks + more)] for n in range(plan.blocks)])
    mask = Mask(mask.q, Positions(pos_BS, segment_BS), mask.rule, mark_BS)
    found = tiles.attend(mechanism, q, k, v, mask, at_NJ[None], at_NJ[None] >= 0, self.size, scheme, key=key)
    return grid.collect(plan, *found)

  def _last(self, a):
    """The last columns of all blocks."""
    return cutting.joined(cutting.cut(a, self.size)[:, :, self.size - self.columns :], 1)


@dataclasses.dataclass(frozen=True, eq=False)
class BigBird(Rule):
  """Pairs of blocks: neighbors, pairs of which one is global, and those drawn with `key`."""

  size: int
  globals: int
  random: int
  back: bool
  key: Any  # of jax.random; None where nothing is drawn

  def __call__(self, q, k, mark_BS=None):
    q_BT1, k_BTS, last_BT1 = _offsets(q, k)
    q_BT1, k_BTS, count_BT1 = q_BT1 // self.size, k_BTS // self.size, last_BT1 // self.size + 1
    seen_BTS = (jnp.abs(q_BT1 - k_BTS) <= 1) | (k_BTS < self.globals)
    if not self.back:
      edge_BTS, edge_BT1 = (a >= count_BT1 - self.globals for a in (k_BTS, q_BT1))
      seen_BTS |= edge_BTS | edge_BT1 | (q_BT1 < self.globals)
    drawn_BTJ, there_BTJ = self.draw(q_BT1[..., 0], count_BT1[..., 0])
    return seen_BTS | ((k_BTS[..., None] == drawn_BTJ[:, :, None]) & there_BTJ[:, :, None]).any(-1)

  def enough(self):
    """The longest row that is looked at as a whole."""
    return self.size * (2 + self.globals + self.random if self.back else 3 + 2 * self.globals + self.random)

  def attend(self, mechanism, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, key):
    """Every block of queries over its list of blocks; then, looking both ways, the rows of the global blocks."""
    plan = grid.lay(mask.q, self.size)
    q, k, v, mask = _mask(grid.spread(plan, (q_BTKGD, k_BSKD, v_BSKD, *mask.q, *mask.k, mask.mark_BS)), mask.rule)
    near_RNJ = plan.place_RN[..., None] + np.array([-1, 0] if self.back else [-1, 0, 1])
    drawn_RNJ, there_RNJ = self.draw(plan.place_RN, plan.count_RN)
    listed_RNJ = jnp.concatenate([near_RNJ, self._edges(plan), jnp.where(there_RNJ, drawn_RNJ, -1)], -1)
    out, lse = tiles.attend(mechanism, q, k, v, mask, *grid.blocks_at(plan, listed_RNJ), self.size, scheme, key=key)
    if self.globals and not self.back:
      out, lse = self._with_globals(mechanism, q, k, v, mask, scheme, plan, out, lse, _other(key))
    return grid.collect(plan, out, lse)

  def draw(self, place, count):
    """`random` other blocks for the block at `place` of `count` (arrays): (numbers, are they there), last axis new.

    They are distinct, and neither neighbors nor global. In causal attention they depend on `place` alone, so that a
    longer row, or a cache, shows the same.
    """
    if not self.random:
      return (jnp.zeros((*place.shape, 0), dtype) for dtype in (jnp.int32, bool))
    low = self.globals
    high = jnp.maximum(place - 1 if self.back else count - self.globals, low)
    first, after = jnp.clip(place - 1, low, high), jnp.clip(place + 2, low, high)
    left = high - low - (after - first)
    number = jnp.maximum(place, 0)[..., None] * self.random + np.arange(self.random, dtype=np.int32)
    chance = (_words(self.key, number) >> 8).astype(jnp.float32) / 2**24
    ranks = []  # among the blocks to choose from, in order; below 0 where none was left
    for i in range(self.random):
      rank = jnp.minimum((chance[..., i] * (left - i)).astype(jnp.int32), left - i - 1)
      for earlier in ranks:  # the rank among those not drawn yet becomes that among all
        rank += rank >= earlier
      for j, earlier in enumerate(ranks):
        ranks[j], rank = jnp.minimum(rank, earlier), jnp.maximum(rank, earlier)
      ranks.append(rank)
    ranks = jnp.stack(ranks, -1)
    drawn = low + ranks
    return drawn + jnp.where(drawn >= first[..., None], (after - first)[..., None], 0), ranks >= 0

  def _edges(self, plan):
    """The global blocks of each block's document, (R, N, globals), or twice as many when there are last ones."""
    first_J = np.arange(self.globals, dtype=np.int32)
    first_RNJ = jnp.broadcast_to(first_J, (*plan.place_RN.shape, self.globals))
    return first_RNJ if self.back else jnp.concatenate([first_RNJ, plan.count_RN[..., None] - 1 - first_J], -1)

  def _with_globals(self, mechanism, q, k, v, mask, scheme, plan, out_BTKGD, lse_BKGT, key):
    """Puts in the rows of the global blocks: they meet the keys of each block, and the answers are joined."""
    to_RNJ, some_RNJ = grid.blocks_at(plan, self._edges(plan))
    q, pos_RNX, segment_RNX = (tiles.chosen(cutting.cut(a, self.size), to_RNJ) for a in (q, *mask.q))
    asks = cutting.joined(pos_RNX, 1), cutting.joined(jnp.where(jnp.repeat(some_RNJ, self.size, 2), segment_RNX, 0), 1)
    own_1N1 = np.arange(plan.blocks, dtype=np.int32)[None, :, None]
    met = Mask(Positions(*asks), mask.k, mask.rule, mask.mark_BS)
    parts, sums = tiles.attend(
      mechanism, cutting.joined(q, 1), k, v, met, own_1N1, own_1N1 >= 0, self.size, scheme, key=key
    )
    parts, sums = cutting.cut(parts, self.size), cutting.cut(jnp.moveaxis(sums, 3, 1), self.size)
    to_RX = cutting.joined(jnp.where(some_RNJ, to_RNJ, plan.blocks), 1)
    whole, whole_lse = (cutting.joined(a, 1) for a in softmax.merge_at(parts, sums, to_RX, plan.blocks))
    is_edge_RN = (plan.place_RN < self.globals) | (plan.place_RN >= plan.count_RN - self.globals)
    is_edge_RT = jnp.repeat(is_edge_RN, self.size, 1)
    out_BTKGD = jnp.where(is_edge_RT[:, :, None, None, None], whole, out_BTKGD)
    return out_BTKGD, jnp.where(is_edge_RT[:, None, None], jnp.moveaxis(whole_lse, 1, 3), lse_BKGT)


def _other(key):
  """A key for the second of two sets of keys."""
  return None if key is None else jax.random.fold_in(key, 2)


def _mask(rows, rule: Rule):
  """(q, k, v, Mask) of moved columns."""
  q, k, v, *positions, mark_BS = rows
  return q, k, v, Mask(Positions(*positions[:2]), Positions(*positions[2:]), rule, mark_BS)


def _words(key, number):
  """A random word for each number, by the last step of MurmurHash3 (Appleby 2016, public domain), once for each half
  of the key: a generator of jax.random would be most of what there is to compile.
  """
  words = number.astype(jnp.uint32)
  for half in jax.random.key_data(key):
    words = words + half
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    words = words ^ (words >> 16)
  return words


def _offsets(q: Positions, k: Positions):
  """Positions of queries (B, T, 1) and keys (B, T, S) counted from the document's first key, and of its last key."""
  same_BTS = (q.segment_BT[:, :, None] == k.segment_BT[:, None, :]) & (k.segment_BT[:, None, :] > 0)
  pos_BTS = jnp.broadcast_to(k.pos_BT[:, None, :], same_BTS.shape)
  first_BT1 = jnp.where(same_BTS, pos_BTS, FAR).min(-1, keepdims=True)
  last_BT1 = jnp.where(same_BTS, pos_BTS, -FAR).max(-1, keepdims=True)
  return q.pos_BT[:, :, None] - first_BT1, pos_BTS - first_BT1, last_BT1 - first_BT1


def _check(pattern, block_size, globals_, random, columns):
  if pattern not in PATTERNS:
    raise Refused(f"attention.pattern={pattern!r} is unknown; choose one of {', '.join(PATTERNS)}")
  if block_size < 1:
    raise Refused(f"attention.block_size={block_size} holds no token; give at least 1")
  if globals_ < 0:
    raise Refused(f"attention.globals={globals_} is no number of blocks; give 0 (no global blocks) or more")
  if random < 0:
    raise Refused(f"attention.random={random} is no number of blocks; give 0 (nothing random) or more")
  if pattern == "fixed" and not 1 <= columns <= block_size:
    raise Refused(f"attention.columns={columns} are not columns of a block of {block_size}; give 1 to {block_size}")
