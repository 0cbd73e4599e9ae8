"""Stacks of blocks (Vaswani et al. 2017): Encoder and Decoder; layers unrolled, a last norm when norms stand before."""

import jax
import jax.numpy as jnp
from flax import nnx

from model import build
from model.block import Block, Dropout, LayerNorm
from model.see import Rule, See, Where, causal, everything, window


class Stack(nnx.Module):
  """Position scheme, blocks and last norm; `rule` says who sees whom in self-attention."""

  def __init__(self, settings, *, rule: Rule, cross: bool = False):
    width, heads = settings["width"], settings["heads"]
    self.rule = rule & window(settings["window"]) if settings["window"] else rule
    self.position = build.make(
      "position", settings["position"], width=width, heads=heads, head_dim=settings["head_dim"] or width // heads
    )
    self.dropout = Dropout(settings["dropout"]) if settings["dropout"] > 0 else None
    self.layers = nnx.List(Block(settings, layer=layer, cross=cross) for layer in range(settings["depth"]))
    self.norm = LayerNorm(width) if settings["wiring"]["norm"] == "pre" else None
    for block in self.layers:
      block.attention.mechanism.admit(self.position)

  def names(self, layer: int) -> tuple[str, str]:
    """What self- and cross-attention of a layer are called in records."""
    return f"encoder/{layer}", ""

  def __call__(self, x_BTM, where: Where, *, memory_BSM=None, memory_where=None, carry=None, key=None, record=None):
    """Embedded tokens to states; returns (y_BTM, carry).

    memory: what cross-attention looks at, within equal segments; with a carry that holds it already, None.
    carry: from `start`, a pair (self, cross) of caches per layer. key: dropout, None = evaluation.
    """
    keys = [None] * (len(self.layers) + 1) if key is None else jax.random.split(key, len(self.layers) + 1)
    x_BTM = self.position.embed(x_BTM, where)
    if self.dropout is not None:
      x_BTM = self.dropout(x_BTM, keys[-1])
    see = See(where, where, self.rule)  # with a carry, heads.py puts the cache's own Where in the place of the keys'
    cross_see = See(where, where if memory_where is None else memory_where, everything())
    caches = []
    for layer, block in enumerate(self.layers):
      x_BTM, cache = block(
        x_BTM,
        see,
        position=self.position,
        memory_BSM=memory_BSM,
        cross_see=cross_see,
        caches=(None, None) if carry is None else carry[layer],
        key=keys[layer],
        record=record,
        names=self.names(layer),
      )
      caches.append(cache)
    if self.norm is not None:
      x_BTM = self.norm(x_BTM)
    return x_BTM, None if carry is None else tuple(caches)


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
