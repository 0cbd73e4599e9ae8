"""Stacks of blocks (Vaswani et al. 2017): Encoder and Decoder; layers unrolled, a last norm when norms stand before.

With model.segment the row is cut into stretches that are worked on one after another; a stretch sees itself and what
model.memory tokens before it left behind (Transformer-XL, Dai et al. 2019), through which no gradient flows.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from model import build
from model.block import Block, Dropout, LayerNorm, Memory, Place, joined, run
from model.errors import Refused
from model.see import Rule, See, Where, causal, everything, recent, window


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
      block.attention.mechanism.admit(self.position, self.rule)

  def scheme(self, layer: int):
    """The position scheme of a layer."""
    return self.position if layer == 0 or self.positions is None else self.positions[layer - 1]

  def names(self, layer: int) -> tuple[str, str]:
    """What self- and cross-attention of a layer are called in records."""
    return f"encoder/{layer}", ""

  def marks(self, tokens_BTC):
    """Booleans (B, T): tokens that the mechanism picks out by content; None where it picks none."""
    symbols = self.layers[0].attention.mechanism.symbols
    return jnp.isin(tokens_BTC[..., 0], jnp.asarray(symbols, tokens_BTC.dtype)) if symbols else None

  def __call__(
    self,
    x_BTM,
    where: Where,
    *,
    mark_BT=None,
    memory_BSM=None,
    memory_where=None,
    carry=None,
    key=None,
    record=None,
  ):
    """Embedded tokens to states; returns (y_BTM, carry).

    mark_BT: from `marks`. memory: what cross-attention looks at, within equal segments; with a carry that holds it
    already, None. carry: from `start`, a pair (self, cross) of caches per layer; or from `remember`, what earlier rows
    left behind. key: dropout, None = evaluation.
    """
    x_BTM = self.position.embed(x_BTM, where)
    if self.dropout is not None:
      key, below = (None, None) if key is None else jax.random.split(key)
      x_BTM = self.dropout(x_BTM, below)
    remembers = carry is not None and isinstance(carry[0], Memory)
    if self.segment and record is None and memory_BSM is None and (carry is None or remembers):
      x_BTM, carry = self._stretches(x_BTM, where, carry, key)
    else:
      # With a carry, heads.py puts the cache's own Where in the place of the keys'.
      cross_see = See(where, where if memory_where is None else memory_where, everything())
      place = Place(See(where, where, self.rule, mark_BT), self.position, memory_BSM, cross_see, record=record)
      layers = range(len(self.layers))
      places = [place._replace(names=self.names(layer), position=self.scheme(layer)) for layer in layers]
      x_BTM, caches = run(self.plan, self.layers, x_BTM, places, carry, key)
      carry = None if carry is None else caches
    return (x_BTM if self.norm is None else self.norm(x_BTM)), carry

  def remember(self, batch: int, dtype) -> tuple:
    """A carry of empty memories, for rows that go on where the last ones ended."""
    if not self.segment:
      raise Refused("model.segment=0 has no memory to carry from row to row; set model.segment and model.memory")
    nothing_BS = jnp.zeros((batch, self.memory), jnp.int32)
    empty_BSM = jnp.zeros((batch, self.memory, self.width), dtype)
    return tuple(Memory(empty_BSM, Where(nothing_BS, nothing_BS)) for _ in self.layers)

  def _stretches(self, x_BTM, where, carry, key):
    """The row stretch by stretch; returns (y_BTM, memories), the latter None when none were given."""
    batch, length, _ = x_BTM.shape
    memories = self.remember(batch, x_BTM.dtype) if carry is None else carry
    cut = [_cut(a, self.segment) for a in (x_BTM, *_full(where, batch))]

    def one(state, stretch):
      memories, index = state
      x_BtM, *here = stretch
      x_BtM, memories = self._stretch(
        x_BtM, Where(*here), memories, None if key is None else jax.random.fold_in(key, index)
      )
      return (memories, index + 1), x_BtM

    (memories, _), y_nBtM = jax.lax.scan(one, (memories, jnp.int32(0)), tuple(cut))
    y_BTM = jnp.moveaxis(y_nBtM, 0, 1).reshape(batch, -1, x_BTM.shape[-1])[:, :length]
    return y_BTM, None if carry is None else memories

  def _stretch(self, x_BTM, where, memories, key):
    """One stretch in the light of the memories; returns (y_BTM, the memories for the next)."""
    see = See(where, where, self.rule)
    places = [Place(see, self.scheme(layer), before=memory) for layer, memory in enumerate(memories)]
    inputs = []
    y_BTM, _ = run(self.plan, self.layers, x_BTM, places, None, key, inputs)
    return y_BTM, tuple(_newest(old, new, where, self.memory) for old, new in zip(memories, inputs, strict=True))


def _full(where: Where, batch: int) -> list:
  return [jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, a.shape[1])) for a in where]


def _cut(a, length: int):
  """(B, T, ...) as (T / length, B, length, ...), padded with zeros, that is with segment 0."""
  a = jnp.pad(a, [(0, 0), (0, -a.shape[1] % length)] + [(0, 0)] * (a.ndim - 2))
  return jnp.moveaxis(a.reshape(a.shape[0], -1, length, *a.shape[2:]), 1, 0)


def _newest(old: Memory, x_BTM, where: Where, size: int) -> Memory:
  """The last `size` inputs of a layer."""
  states_BSM = jnp.concatenate([old.state_BSM, jax.lax.stop_gradient(x_BTM)], 1)
  first = states_BSM.shape[1] - size
  return Memory(states_BSM[:, first:], joined(old.where, where).at(slice(first, None)))


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

  def start(self, batch: int, length: int, dtype, memory_BSM=None, memory_where=None) -> tuple:
    """A carry of `length` empty slots per layer; the keys and values of the memory are computed once, here.

    Every leaf has the batch as axis 0, so that a beam reorders all of it by one tree map.
    """
    carry = []
    for block in self.layers:
      cross_cache = None
      if block.cross is not None and memory_BSM is not None and memory_where is not None:
        # One query, whose answer nobody reads, fills the cache.
        see = See(memory_where.at(slice(1)), memory_where, everything())
        empty = block.cross.empty_cache(batch, memory_BSM.shape[1], dtype)
        _, cross_cache = block.cross(jnp.zeros_like(memory_BSM[:, :1]), memory_BSM, see, cache=empty)
      carry.append((block.attention.empty_cache(batch, length, dtype), cross_cache))
    return tuple(carry)
