"""Attention in a band with global tokens (Longformer, Beltagy et al. 2020): o_t = sum_s w v_s, w = softmax(q_t . k_s /
sqrt(D)) over the s near t, |t - s| < window, and over the global s; a global t sees all s, by projections of its own.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.initial import dial
from model.kernels import cutting, tiles
from model.kernels.softmax import attend, products
from model.mask import EARLIER, Mask, Positions, Rule, by_content, window


class Banded(Mechanism):
  """A token sees itself and `window` - 1 tokens on either side, the right one unless attention is causal.

  The paper counts both sides: its window w is `window` = w/2 + 1 here.
  windows: one window per head; all heads then cost what the widest does. layers: one window per layer, the last also
  serves the layers above. Either takes the place of `window`.
  dilation: only every so many tokens count, so the window reaches that many times as far.
  anchors: positions whose tokens are global, in every document. symbols: tokens with one of these symbols in their
  first field are global. most: global tokens per row; those beyond it, by document and position, stay local.
  Global tokens are seen by all and see all, as far as the rule allows: in causal attention they see their past.
  Their own queries, and the keys and values that these meet, come from a second set of projections.
  """

  supports = Supports(cross=False, blockwise=False)
  cost_time = "T W D"
  cost_memory = "T D"

  def __init__(
    self,
    heads: int,
    head_dim: int,
    *,
    layer: int = 0,
    window: int = 64,
    windows: tuple[int, ...] = (),
    layers: tuple[int, ...] = (),
    dilation: int = 1,
    anchors: tuple[int, ...] = (),
    symbols: tuple[int, ...] = (),
    most: int = 16,
    scale: float | None = None,
  ):
    super().__init__(heads, head_dim, layer=layer)
    _check(heads, window, windows, layers, dilation, anchors, symbols, most)
    chosen = tuple(windows) or (layers[min(layer, len(layers) - 1)] if layers else window,)
    self.windows = tuple(int(width) for width in chosen) if len(set(chosen)) > 1 else ()
    self.window, self.dilation = int(max(chosen)), int(dilation)
    self.symbols = tuple(int(symbol) for symbol in symbols)
    self.chosen = Globals(tuple(int(position) for position in anchors), bool(symbols), int(most))
    self.views = 2 if anchors or symbols else 1
    self.scale = dial(head_dim**-0.5 if scale is None else scale)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    score_BKGTS = products((self.scale[...] * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)
    return score_BKGTS if isinstance(inside, float) else score_BKGTS + self.scale[...] * inside

  def __call__(self, q, k, v, mask, scheme=None, *, block=None, key=None):
    self.check(scheme, block=block)
    length, size = mask.q.pos_BT.shape[1], self._size()
    span = size * (1 + -(-(self.window - 1) // size) * (1 if tiles.looks_back(mask.rule) else 2))
    # Other keys than the queries' own are those of earlier stretches; then, and in short rows, all pairs are looked at.
    if length != mask.k.pos_BT.shape[1] or length <= span:
      return self._dense(q, k, v, mask, scheme, key)
    if self.views == 1:
      return self._near(q, k, v, mask, scheme, key=key)
    return self._with_globals(q, k, v, mask, scheme, key)

  def over_cache(self, q, k, v, mask, scheme=None):
    return self._dense(q, k, v, mask, scheme)

  def own_mask(self, mask):
    return Mask(mask.q, mask.k, mask.rule & self._pattern(), mask.mark_BS)

  def weights(self, q, k, mask, scheme=None):
    heads = self._heads_apart(mask, scheme)
    if self.views == 1:
      return super().weights(q, k, mask, heads)
    near_BKGTS, far_BKGTS = (super(Banded, self).weights(q[i], k[i], mask, p) for i, p in enumerate((heads, scheme)))
    return jnp.where(self.chosen.queries(mask)[:, None, None, :, None], far_BKGTS, near_BKGTS)

  def _pattern(self) -> Rule:
    near = window(self.window * self.dilation)
    near = near & Every(self.dilation) if self.dilation > 1 else near
    return near if self.views == 1 else near | self.chosen

  def _dense(self, q, k, v, mask, scheme, key=None):
    """All pairs, under the rule: for caches and short rows."""
    own_mask, heads = self.own_mask(mask), self._heads_apart(mask, scheme)
    if self.views == 1:
      return attend(self, q, k, v, own_mask, heads, key=key)
    near, near_lse = attend(self, q[0], k[0], v[0], own_mask, heads, key=key)
    far, far_lse = attend(self, q[1], k[1], v[1], own_mask, scheme, key=key)
    global_BT = self.chosen.queries(mask)
    out_BTKGD = jnp.where(global_BT[:, :, None, None, None], far, near)
    return out_BTKGD, jnp.where(global_BT[:, None, None], far_lse, near_lse)

  def _heads_apart(self, mask, scheme):
    """The position scheme, which also bars each head from what lies beyond its own window, global keys apart."""
    if not self.windows:
      return scheme
    distance_B1TS = jnp.abs(jnp.asarray(mask.q.pos_BT)[:, :, None] - jnp.asarray(mask.k.pos_BT)[:, None])[:, None]
    seen_BHTS = distance_B1TS < self.dilation * np.array(self.windows)[:, None, None]
    if self.views == 2:
      seen_BHTS |= self.chosen.keys(mask)[:, None, None]
    return _HeadsApart(scheme, seen_BHTS)

  def _with_globals(self, q, k, v, mask, scheme, key):
    """Local tokens see their window and the global tokens, which stand apart; then the global tokens' rows follow."""
    at_BC, found_BC = self.chosen.pick(mask.k, mask.mark_BS)
    mark_BS = jnp.zeros_like(mask.k.pos_BT) if mask.mark_BS is None else mask.mark_BS.astype(jnp.int32)
    pos_BC, segment_BC, mark_BC = (_columns(a, at_BC) for a in (*mask.k, mark_BS))
    chosen = Positions(pos_BC, jnp.where(found_BC, segment_BC, 0))
    local_BS = jnp.where(_marks(mask.k, at_BC, found_BC), 0, mask.k.segment_BT)
    near = Mask(mask.q, Positions(mask.k.pos_BT, local_BS), mask.rule, mark_BS)
    apart = _columns(k[0], at_BC), _columns(v[0], at_BC), *chosen, mark_BC | 2
    out_BTKGD, lse_BKGT = self._near(q[0], k[0], v[0], near, scheme, apart, key)
    mask = Mask(chosen, mask.k, mask.rule, mask.mark_BS)
    own_BCKGD, own_BKGC = attend(self, _columns(q[1], at_BC), k[1], v[1], mask, scheme, key=key)
    put = (jnp.arange(out_BTKGD.shape[0])[:, None], jnp.where(found_BC, at_BC, out_BTKGD.shape[1]))
    lse_BTKG = jnp.moveaxis(lse_BKGT, 3, 1).at[put].set(jnp.moveaxis(own_BKGC, 3, 1), mode="drop")
    return out_BTKGD.at[put].set(own_BCKGD, mode="drop"), jnp.moveaxis(lse_BTKG, 1, 3)

  def _near(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, apart=None, key=None):
    """Blocks of queries, each over the blocks of keys within its reach, and over the keys apart.

    apart: keys, values, positions, segments and marks of tokens that all see, which mask.k.segment_BT leaves out.
    """
    length, size = q_BTKGD.shape[1], self._size()
    blocks = -(-length // (size * self.dilation))  # of tokens a multiple of the dilation apart: they stand together
    spread = functools.partial(_spread, rows=self.dilation, length=blocks * size * self.dilation)
    q_BTKGD, *q_positions = map(spread, (q_BTKGD, *mask.q))
    keys, more = [spread(a) for a in (k_BSKD, v_BSKD, *mask.k, *([] if mask.mark_BS is None else [mask.mark_BS]))], 0
    if apart is not None:
      more = -(-apart[0].shape[1] // size)
      keys = [_beside(a, cutting.padded(b, more * size)) for a, b in zip(keys, apart, strict=True)]
    k_BSKD, v_BSKD, pos_BS, segment_BS, *mark = keys
    at_NJ, some_NJ, behind = self._reach(blocks, more, tiles.looks_back(mask.rule))
    dress = functools.partial(self._heads_apart_in_tile, more=more * size, offset=behind * size)
    mask = Mask(
      Positions(*q_positions), Positions(pos_BS, segment_BS), _Near(mask.rule, self.window * self.dilation), *mark
    )
    lists = at_NJ[None], some_NJ[None]
    out_BTKGD, lse_BKGT = tiles.attend(self, q_BTKGD, k_BSKD, v_BSKD, mask, *lists, size, scheme, dress, key)
    return _gathered(out_BTKGD, 1, self.dilation, length), _gathered(lse_BKGT, 3, self.dilation, length)

  def _reach(self, blocks, more, looks_back):
    """For each block its neighbors in the same row, and `more` blocks behind all rows: (numbers, are they there).

    Four blocks that look back over one, and one more block that stands apart as number 4:

        numbers [[0, 0, 4], [0, 1, 4], [1, 2, 4], [2, 3, 4]]    there [[no, yes, yes], [yes, yes, yes], ...]

    Block 0 has nothing before it: its first number is a stand-in, of which no key counts.
    """
    behind = min(blocks - 1, -(-(self.window - 1) // self._size()))
    near_NJ = np.arange(blocks)[:, None] + np.arange(-behind, 1 if looks_back else behind + 1)
    some_NJ = np.pad((near_NJ >= 0) & (near_NJ < blocks), ((0, 0), (0, more)), constant_values=True)
    at_NJ = np.concatenate([row * blocks + near_NJ.clip(0, blocks - 1) for row in range(self.dilation)])
    apart_NJ = np.broadcast_to(blocks * self.dilation + np.arange(more), (len(at_NJ), more))
    return np.concatenate([at_NJ, apart_NJ], 1), np.tile(some_NJ, (self.dilation, 1)), behind

  def _size(self) -> int:
    """Tokens per block: a quarter of the window wastes little at its edges and is still worth a product."""
    return max(16, 2 ** int(math.log2(self.window)) // 4)

  def _heads_apart_in_tile(self, scheme, shape, more, offset):
    """The position scheme of a tile whose keys begin `offset` columns before its queries, and have `more` behind."""
    if not self.windows:
      return scheme
    queries, keys = shape
    distance_TS = np.abs(np.arange(queries)[:, None] + offset - np.arange(keys - more))
    seen_HTS = distance_TS < np.array(self.windows)[:, None, None]
    return _HeadsApart(scheme, np.pad(seen_HTS, ((0, 0), (0, 0), (0, more)), constant_values=True)[None])


@dataclasses.dataclass(frozen=True)
class _Near(Rule):
  """Keys less than `width` positions away, and those marked 2 or 3; `inner` is told of odd marks."""

  inner: Rule
  width: int

  def __call__(self, q, k, mark_BS=None):
    near = window(self.width)(q, k)
    if mark_BS is None or mark_BS.dtype == bool:
      return self.inner(q, k, mark_BS) & near
    return self.inner(q, k, mark_BS % 2 > 0) & (near | (mark_BS > 1)[:, None])


def _spread(a, rows: int, length: int):
  """(B, T, ...) as (B, length, ...): every `rows`-th token first, then those one after them, and so on.

  With a dilation of 2 the tokens 0 1 2 3 4 5 6 7 stand as 0 2 4 6 1 3 5 7: what sees each other is side by side again,
  and in blocks of 2 the first row is the blocks 0 2 | 4 6, the second 1 3 | 5 7.
  """
  a = cutting.padded(jnp.asarray(a), length)
  return a if rows == 1 else cutting.joined(jnp.swapaxes(cutting.cut(a, rows), 1, 2), 1)


def _gathered(a, axis: int, rows: int, length: int):
  """Undoes `_spread`."""
  if rows > 1:
    a = a.reshape(*a.shape[:axis], rows, -1, *a.shape[axis + 1 :])
    a = cutting.joined(jnp.swapaxes(a, axis, axis + 1), axis)
  return jax.lax.slice_in_dim(a, 0, length, axis=axis)


def _beside(a, b):
  """Columns of two arrays, either of which may have one row for all."""
  rows = max(a.shape[0], b.shape[0])
  return jnp.concatenate([jnp.broadcast_to(c, (rows, *c.shape[1:])) for c in (a, b)], 1)


@dataclasses.dataclass(frozen=True)
class Every(Rule):
  """Keys at multiples of `stride` positions from the query."""

  stride: int

  def __call__(self, q, k, mark_BS=None):
    return (q.pos_BT[:, :, None] - k.pos_BT[:, None, :]) % self.stride == 0


@dataclasses.dataclass(frozen=True)
class Globals(Rule):
  """Pairs of which one is global, by position or by content: the first `most` of a row, by document and position."""

  anchors: tuple[int, ...]
  content: bool
  most: int

  def __call__(self, q, k, mark_BS=None):
    mask = Mask(q, k, self, mark_BS)
    return self.keys(mask)[:, None, :] | self.queries(mask)[:, :, None]

  def pick(self, k: Positions, mark_BS):
    """Columns of the global tokens (B|1, C), and which of them there are."""
    wanted_BS = jnp.isin(k.pos_BT, jnp.asarray(self.anchors, jnp.int32)) & (jnp.asarray(k.segment_BT) > 0)
    if self.content:
      if mark_BS is None:
        raise Refused("attention.symbols needs to know where they stand: Mask(mark_BS=...), booleans (B, S); got none")
      wanted_BS |= by_content(mark_BS) & (jnp.asarray(k.segment_BT) > 0)
    pos_BS, segment_BS, _ = jnp.broadcast_arrays(*k, wanted_BS)
    at_BC = jnp.lexsort((pos_BS, segment_BS, ~wanted_BS))[:, : self.most]
    return at_BC, _columns(wanted_BS, at_BC)

  def keys(self, mask: Mask):
    """Which keys are global, (B|1, S)."""
    mark_BS = mask.mark_BS
    if mark_BS is None or mark_BS.dtype == bool:
      return _marks(mask.k, *self.pick(mask.k, mark_BS))
    # A key that stands twice counts once, and is global in both places.
    once = Positions(mask.k.pos_BT, jnp.where(mark_BS & EARLIER > 0, 0, mask.k.segment_BT))
    return (_same(mask.k, mask.k) & _marks(once, *self.pick(once, mark_BS))[:, None]).any(-1)

  def queries(self, mask: Mask):
    """Which queries are: those whose own key is, (B|1, T)."""
    return (_same(mask.q, mask.k) & self.keys(mask)[:, None]).any(-1)


class _HeadsApart:
  """A position scheme, or none, after which each head is barred from the keys that it must not see."""

  def __init__(self, scheme, seen_BHTS):
    self.scheme, self.barrier_BHTS = scheme, jnp.where(seen_BHTS, 0.0, -jnp.inf)

  def acts(self, hook):
    return hook == "after" or (self.scheme is not None and self.scheme.acts(hook))

  def after(self, q_positions, k_positions):
    if self.scheme is None or not self.scheme.acts("after"):
      return self.barrier_BHTS
    return self.barrier_BHTS + self.scheme.after(q_positions, k_positions)

  def inside(self, *given):
    return self.scheme.inside(*given)

  def values(self, *given):
    return self.scheme.values(*given)


def _same(q: Positions, k: Positions):
  """Which keys are the queries' own, (B|1, T, S)."""
  (q_pos, q_segment), (k_pos, k_segment) = ([jnp.asarray(a) for a in side] for side in (q, k))
  return (q_pos[:, :, None] == k_pos[:, None]) & (q_segment[:, :, None] == k_segment[:, None])


def _columns(a_BS, at_BC):
  """The columns `at_BC` of each row; either may have one row for all."""
  return jnp.asarray(a_BS)[jnp.arange(a_BS.shape[0])[:, None], at_BC]


def _marks(positions: Positions, at_BC, found_BC):
  """The columns that were found, as booleans (B|1, S)."""
  none_BS = jnp.zeros((at_BC.shape[0], positions.pos_BT.shape[1]), bool)
  return none_BS.at[jnp.arange(at_BC.shape[0])[:, None], at_BC].set(found_BC)


def _check(heads, window, windows, layers, dilation, anchors, symbols, most):
  for name, widths in (("window", (window,)), ("windows", windows), ("layers", layers)):
    if min(widths, default=1) < 1:
      raise Refused(f"attention.{name}={min(widths)} lets nobody see anything; give 1 (itself only) or more")
  if windows and layers:
    raise Refused(f"attention.windows={windows} and layers={layers} contradict each other; give one of them")
  if windows and len(windows) != heads:
    raise Refused(f"attention.windows={windows} are {len(windows)} windows for {heads} heads; give one per head")
  if dilation < 1:
    raise Refused(f"attention.dilation={dilation} is no distance between keys; give 1 (every key) or more")
  if min(anchors, default=0) < 0:
    raise Refused(f"attention.anchors={anchors} are positions in a document, which begin at 0; give none below")
  if min(symbols, default=0) < 0:
    raise Refused(f"attention.symbols={symbols} are symbols of the first field, which begin at 0; give none below")
  if most < max(1, len(set(anchors))):
    raise Refused(f"attention.most={most} global tokens are fewer than the anchors={anchors}; give at least as many")
