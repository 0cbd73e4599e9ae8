"""Stacks of blocks (Vaswani et al. 2017): Encoder and Decoder; layers unrolled, a last norm when norms stand before.

With model.segment a document is cut into stretches by position; a stretch sees itself and what model.memory tokens
before it left behind (Transformer-XL, Dai et al. 2019), through which no gradient flows. Rows known to hold one
document from the start of a stretch are worked on stretch by stretch, all others at once, under the rule.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from model import build
from model.block import Block, Context, LayerNorm, Memory
from model.dropout import Dropout
from model.errors import Refused
from model.kernels import cutting
from model.mask import EARLIER, OWN, Mask, Positions, Rule, by_content, causal, everything, once, recent, window
from model.order import run


class Stack(nnx.Module):
  """Position scheme, blocks and last norm; `rule` says who sees whom in self-attention."""

  def __init__(self, settings, *, rule: Rule, cross: bool = False):
    width, heads = settings["width"], settings["heads"]
    self.width, self.segment, self.memory = width, settings["segment"], settings["memory"]
    if self.memory and not self.segment:
      raise Refused(
        f"model.memory={self.memory} remembers stretches, but model.segment=0 makes none; set model.segment"
      )
    if settings["window"]:
      rule = rule & window(settings["window"])
    if not settings["itself"]:
      rule = rule & ~window(1)
    self.rule = rule & recent(self.segment, self.memory) if self.segment else rule
    sizes = {"width": width, "heads": heads, "head_dim": settings["head_dim"] or width // heads}
    make = lambda: build.make("position", settings["position"], **sizes)  # noqa: E731
    self.position = make()
    further = [self.position.another(make) for _ in range(1, settings["depth"])]
    # Of the layers above the first, where each has its own; sorts behind `position`, where what is shared stays.
    self.positions = None if all(one is self.position for one in further) else nnx.List(further)
    self.dropout = Dropout(settings["dropout"]) if settings["dropout"] > 0 else None
    self.layers = nnx.List(Block(settings, layer=layer, cross=cross) for layer in range(settings["depth"]))
    self.plan = self.layers[0].wiring.plan(settings["depth"])
    self.norm = LayerNorm(width, eps=settings["wiring"]["eps"]) if settings["wiring"]["norm"] == "pre" else None
    for block in self.layers:
      block.attention.mechanism.check(self.position, self.rule)

  def scheme(self, layer: int):
    """The position scheme of a layer."""
    return self.position if layer == 0 or self.positions is None else self.positions[layer - 1]

  def names(self, layer: int) -> tuple[str, str]:
    """What self- and cross-attention of a layer are called in records."""
    return f"encoder/{layer}", ""

  def marks(self, tokens_BTC):
    """Booleans (B, T): tokens that the mechanism picks out by content; None where it picks none."""
    return self.layers[0].attention.marks(tokens_BTC)

  def __call__(
    self,
    x_BTM,
    positions: Positions,
    *,
    mark_BT=None,
    memory_BSM=None,
    memory_positions=None,
    carry=None,
    key=None,
    record=None,
  ):
    """Embedded tokens to states; returns (y_BTM, carry).

    mark_BT: from `marks`. memory: what cross-attention looks at, within equal segments; with a carry that holds it
    already, None. carry: from `start`, a pair (self, cross) of caches per layer; or from `remember`, what earlier rows
    left behind. key: dropout, None = evaluation.
    """
    x_BTM = self.position.embed(x_BTM, positions)
    if self.dropout is not None:
      key, below = (None, None) if key is None else jax.random.split(key)
      x_BTM = self.dropout(x_BTM, below)
    alone = carry is None and record is None and memory_BSM is None and mark_BT is None
    if self.segment and alone and self._by_stretches(positions):
      x_BTM = self._stretches(x_BTM, positions, key)
    else:
      # With a carry, heads.py puts the cache's own positions in the place of the keys'.
      cross_mask = Mask(positions, positions if memory_positions is None else memory_positions, everything())
      context = Context(
        Mask(positions, positions, self.rule, mark_BT), self.position, memory_BSM, cross_mask, record=record
      )
      layers = range(len(self.layers))
      contexts = [context._replace(names=self.names(layer), scheme=self.scheme(layer)) for layer in layers]
      x_BTM, carry = self._at_once(x_BTM, contexts, carry, key)
    return (x_BTM if self.norm is None else self.norm(x_BTM)), carry

  def remember(self, batch: int, dtype) -> tuple:
    """A carry of empty memories, for rows that go on where the last ones ended, at any place of a stretch.

    It is the document at the end of a row that goes on: where the next row holds its segment at later positions.
    """
    if not self.segment:
      raise Refused("model.segment=0 has no memory to carry from row to row; set model.segment and model.memory")
    mechanism = self.layers[0].attention.mechanism
    if mechanism.counts:
      raise Refused(
        f"{type(mechanism).__name__} attention of this pattern counts from a document's first token, which a memory "
        "carried from row to row forgets; use pattern=strided, or give whole documents"
      )
    return self._nothing(batch, self.memory + self.segment - 1, dtype, marked=True)

  def _nothing(self, batch: int, size: int, dtype, *, marked: bool) -> tuple:
    """Empty memories of `size` tokens, one per layer."""
    nothing_BS = jnp.zeros((batch, size), jnp.int32)
    empty_BSM = jnp.zeros((batch, size, self.width), dtype)
    mark_BS = jnp.zeros((batch, size), bool) if marked else None
    return tuple(Memory(empty_BSM, Positions(nothing_BS, nothing_BS), mark_BS) for _ in self.layers)

  def _at_once(self, x_BTM, contexts, carry, key):
    """Whole rows, layer by layer, under the rule; returns (y_BTM, carry)."""
    if carry is not None and not isinstance(carry[0], Memory):  # caches, which hold all there is
      return run(self.plan, self.layers, x_BTM, contexts, carry, key)
    if not self.segment:
      return run(self.plan, self.layers, x_BTM, contexts, None, key)[0], None
    own = contexts[0].mask
    memories = None if carry is None else [_going_on(memory, own.q) for memory in carry]
    mask = _twofold(own, None if memories is None else memories[0], self.segment, again=self.memory > 0)
    contexts = [context._replace(mask=mask, again=self.memory > 0) for context in contexts]
    if memories is None:
      return run(self.plan, self.layers, x_BTM, contexts, None, key)[0], None
    contexts = [context._replace(before=memory) for context, memory in zip(contexts, memories, strict=True)]
    inputs = []
    y_BTM, _ = run(self.plan, self.layers, x_BTM, contexts, None, key, inputs)
    return y_BTM, tuple(_after(old, new, own) for old, new in zip(memories, inputs, strict=True))

  def _by_stretches(self, positions: Positions) -> bool:
    """Whether each row is known to be one document from the start of a stretch, of which no pattern needs all."""
    if self.layers[0].attention.mechanism.counts or any(isinstance(a, Tracer) for a in positions):
      return False
    pos_BT, segment_BT = (np.asarray(a) for a in positions)
    columns = pos_BT[:, :1] + np.arange(pos_BT.shape[1])
    is_one = (segment_BT > 0) & (segment_BT == segment_BT[:, :1]) & (pos_BT == columns)
    return bool(is_one.all() and (pos_BT[:, 0] % self.segment == 0).all())

  def _stretches(self, x_BTM, positions, key):
    """The row stretch by stretch."""
    batch, length, _ = x_BTM.shape
    memories = self._nothing(batch, self.memory, x_BTM.dtype, marked=False)
    cut = [cutting.stacked(a, self.segment) for a in (x_BTM, *_full(positions, batch))]

    def one(state, stretch):
      memories, index = state
      x_BtM, *here = stretch
      x_BtM, memories = self._stretch(
        x_BtM, Positions(*here), memories, None if key is None else jax.random.fold_in(key, index)
      )
      return (memories, index + 1), x_BtM

    _, y_nBtM = jax.lax.scan(one, (memories, jnp.int32(0)), tuple(cut))
    return cutting.unstacked(y_nBtM, length)

  def _stretch(self, x_BTM, positions, memories, key):
    """One stretch in the light of the memories; returns (y_BTM, the memories for the next)."""
    masks = [Mask(positions, _joined(memory.positions, positions), self.rule) for memory in memories]
    pairs = enumerate(zip(masks, memories, strict=True))
    contexts = [Context(mask, self.scheme(layer), before=memory) for layer, (mask, memory) in pairs]
    inputs = []
    y_BTM, _ = run(self.plan, self.layers, x_BTM, contexts, None, key, inputs)
    return y_BTM, tuple(_newest(old, new, positions, self.memory) for old, new in zip(memories, inputs, strict=True))


def _full(positions: Positions, batch: int) -> list:
  return [jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, a.shape[1])) for a in positions]


def _joined(first: Positions, second: Positions) -> Positions:
  """The columns of `first`, then those of `second`."""
  batch = max(first.pos_BT.shape[0], second.pos_BT.shape[0])
  sides = zip(first, second, strict=True)
  return Positions(*(jnp.concatenate([_rows(a, batch), _rows(b, batch)], 1) for a, b in sides))


def _rows(a_BT, batch: int):
  return jnp.broadcast_to(jnp.asarray(a_BT, jnp.int32), (batch, a_BT.shape[1]))


def _newest(old: Memory, x_BTM, positions: Positions, size: int) -> Memory:
  """The last `size` inputs of a layer."""
  states_BSM = jnp.concatenate([old.state_BSM, jax.lax.stop_gradient(x_BTM)], 1)
  first = states_BSM.shape[1] - size
  return Memory(states_BSM[:, first:], _joined(old.positions, positions).at(slice(first, None)))


def _twofold(mask: Mask, memory: Memory | None, stretch: int, *, again: bool) -> Mask:
  """The keys of the memory, if there is one, those of the row as what is remembered, if `again`, and those of the row.

  In a row of tokens 0 1 2 3 with stretches of 2, token 3 sees 0 and 1 in their first place, 2 and itself in the second.
  """
  sides = [] if memory is None else [(memory.positions, memory.mark_BS, 0)]
  sides += [(mask.k, mask.mark_BS, EARLIER), (mask.k, mask.mark_BS, OWN)] if again else [(mask.k, mask.mark_BS, 0)]
  positions = sides[0][0]
  for other, _, _ in sides[1:]:
    positions = _joined(positions, other)
  if not again and mask.mark_BS is None:
    return Mask(mask.q, positions, mask.rule)
  batch = len(positions.pos_BT)
  marks = [_marks(mark_BS, batch, side.pos_BT.shape[1]) + bit for side, mark_BS, bit in sides]
  mark_BS = jnp.concatenate(marks, 1)
  return (
    Mask(mask.q, positions, mask.rule & once(stretch), mark_BS)
    if again
    else Mask(mask.q, positions, mask.rule, mark_BS > 0)
  )


def _marks(mark_BS, batch: int, length: int):
  """Marks by content as integers, 0 where there are none."""
  mark_BS = jnp.zeros((1, length), bool) if mark_BS is None else by_content(mark_BS)
  return jnp.broadcast_to(mark_BS, (batch, length)).astype(jnp.int32)


def _going_on(memory: Memory, positions: Positions) -> Memory:
  """What is remembered, less a document whose number a row uses for one that starts anew."""
  pos_BT, segment_BT = _full(positions, len(memory.positions.pos_BT))
  is_here_BST = memory.positions.segment_BT[:, :, None] == segment_BT[:, None, :]
  first_BS = jnp.min(jnp.where(is_here_BST, pos_BT[:, None, :], np.iinfo(np.int32).max), -1)
  segment_BS = jnp.where(memory.positions.pos_BT < first_BS, memory.positions.segment_BT, 0)
  return memory._replace(positions=memory.positions._replace(segment_BT=segment_BS))


def _after(old: Memory, x_BTM, mask: Mask) -> Memory:
  """As many inputs of a layer as before: the last ones, by position, of the document at the end of the row."""
  batch, size, _ = old.state_BSM.shape
  state_BSM = jnp.concatenate([old.state_BSM, jax.lax.stop_gradient(x_BTM)], 1)
  pos_BS, segment_BS = _joined(old.positions, mask.q)
  mark_BS = jnp.concatenate([_marks(old.mark_BS, batch, size), _marks(mask.mark_BS, batch, x_BTM.shape[1])], 1) > 0
  end_B1 = jnp.max(jnp.where(segment_BS > 0, jnp.arange(pos_BS.shape[1]), 0), 1, keepdims=True)
  is_its_BS = (segment_BS > 0) & (segment_BS == jnp.take_along_axis(segment_BS, end_B1, 1))
  at_BS = jnp.argsort(jnp.where(is_its_BS, pos_BS, -1), 1, stable=True)[:, pos_BS.shape[1] - size :]
  pos_BS, segment_BS, mark_BS = (jnp.take_along_axis(a, at_BS, 1) for a in (pos_BS, segment_BS * is_its_BS, mark_BS))
  return Memory(jnp.take_along_axis(state_BSM, at_BS[..., None], 1), Positions(pos_BS, segment_BS), mark_BS)


class Encoder(Stack):
  """Every token sees its whole segment (within the window, if there is one)."""

  def __init__(self, settings):
    super().__init__(settings, rule=everything())


class Decoder(Stack):
  """A token sees its segment up to itself and, with `cross`, the same segment of a memory."""

  def __init__(self, settings, *, cross: bool = False):
    super().__init__(settings, rule=causal(), cross=cross)

  def names(self, layer):
    return f"decoder/{layer}/self", f"decoder/{layer}/cross"

  def start(self, batch: int, length: int, dtype, memory_BSM=None, memory_positions=None) -> tuple:
    """A carry of `length` empty slots per layer; the keys and values of the memory are computed once, here.

    Every leaf has the batch as axis 0, so that a beam reorders all of it by one tree map.
    """
    carry = []
    for block in self.layers:
      cross_cache = None
      if block.cross is not None and memory_BSM is not None and memory_positions is not None:
        # One query, whose answer nobody reads, fills the cache.
        mask = Mask(memory_positions.at(slice(1)), memory_positions, everything())
        empty = block.cross.empty_cache(batch, memory_BSM.shape[1], dtype)
        _, cross_cache = block.cross(jnp.zeros_like(memory_BSM[:, :1]), memory_BSM, mask, cache=empty)
      carry.append((block.attention.empty_cache(batch, length, dtype), cross_cache))
    return tuple(carry)
