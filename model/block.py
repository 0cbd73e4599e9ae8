"""A residual block: sublayers f (attention, cross-attention, feed-forward), each in its wiring.

pre: x + f(LN(x)) (Xiong et al. 2020); post: LN(x + f(x)) (Vaswani et al. 2017); none: x + f(x); without residual the
x + is left out. Dropout (Srivastava et al. 2014) stands on f's output, before the addition.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from model import build, initial
from model.errors import Refused
from model.heads import Heads
from model.see import See, Where


@dataclasses.dataclass(frozen=True)
class Wiring:
  """Where the norm stands ("pre", "post" or "none") and whether the input is added to the output.

  order: sublayers from the input up, a = attention, f = feed-forward, p = both in parallel (Wang & Komatsuzaki 2021),
  repeated until every layer has had its turn; "aaff" is a sandwich of two layers (Press et al. 2020).
  """

  norm: str = "pre"
  residual: bool = True
  order: str = "af"
  eps: float = 1e-6  # what every norm adds to the variance

  def plan(self, depth: int) -> tuple[tuple[str, int], ...]:
    """(letter, layer) for each sublayer of a stack."""
    layers = len(self.order) if set(self.order) == {"p"} else self.order.count("a")
    if set(self.order) != {"p"} and (not layers or sorted(self.order) != sorted("af" * layers)):
      raise Refused(f"wiring.order={self.order!r} must hold as many a as f, or p alone; such as af, fa, aaff or p")
    if depth % layers:
      raise Refused(f"wiring.order={self.order!r} serves {layers} layers at a time; depth={depth} is not a multiple")
    word = self.order * (depth // layers)
    return tuple((letter, word[:index].count(letter)) for index, letter in enumerate(word))


class Memory(NamedTuple):
  """What a layer read in the stretches before (Dai et al. 2019): its inputs, without gradient, and where they stood.

  mark_BS: which of them the mechanism picks out by content; None where nobody asks.
  """

  state_BSM: jax.Array
  where: Where
  mark_BS: jax.Array | None = None


class Place(NamedTuple):
  """All that an attention sublayer is told beside its input."""

  see: See
  position: nnx.Module | None = None
  memory_BSM: jax.Array | None = None  # of cross-attention
  cross_see: See | None = None
  before: Memory | None = None  # earlier stretches, whose columns stand in front of all others in see.k
  again: bool = False  # the row stands in see.k twice: first as what is remembered, without gradient, then as it is
  record: list | None = None
  names: tuple[str, str] = ("", "")  # what records of self- and cross-attention are called


class LayerNorm(nnx.Module):
  """Ba et al. 2016: (x - mean) / sqrt(var + eps) * gain + bias, statistics in float32.

  The slope is at most gain / sqrt(eps), at a constant row; there those of norms behind one another multiply.
  """

  def __init__(self, width: int, *, eps: float = 1e-6):
    self.gain, self.bias = initial.param((width,), "gain"), initial.param((width,), "bias")
    self.eps = eps

  def __call__(self, x_BTM):
    wide_BTM = x_BTM.astype(jnp.float32)
    centered_BTM = wide_BTM - wide_BTM.mean(-1, keepdims=True)
    variance_BT1 = jnp.square(centered_BTM).mean(-1, keepdims=True)
    y_BTM = centered_BTM * jax.lax.rsqrt(variance_BT1 + self.eps) * self.gain[...] + self.bias[...]
    return y_BTM.astype(x_BTM.dtype)


class Dropout(nnx.Module):
  """Keeps each number with probability 1 - rate and divides it by that; the rate is a dial, key None = evaluation."""

  def __init__(self, rate: float):
    self.rate = initial.dial(rate)

  def __call__(self, x, key=None):
    if key is None:
      return x
    keep = 1.0 - self.rate[...]
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep.astype(x.dtype), jnp.zeros_like(x))


class Block(nnx.Module):
  """One layer: self-attention, cross-attention when `cross`, feed-forward; the stack calls them in its wiring's order.

  `settings` is a complete model dict (`build.complete`); `layer` its index in the stack.
  """

  def __init__(self, settings, *, layer: int, cross: bool = False):
    width = settings["width"]
    self.wiring = Wiring(**settings["wiring"])
    self.dropout = Dropout(settings["dropout"]) if settings["dropout"] > 0 else None
    self.attention = heads_of(settings, layer)
    self.cross = heads_of(settings, layer, cross=True) if cross else None
    if cross and "p" in self.wiring.order:
      raise Refused(f"wiring.order={self.wiring.order!r}: p has no place for cross-attention; use af, fa or aaff")
    feedforward = build.make("feedforward", settings["feedforward"], width=width)
    self.feedforward = None if getattr(feedforward, "absent", False) else feedforward
    normed, eps = self.wiring.norm != "none", self.wiring.eps
    self.attention_norm = LayerNorm(width, eps=eps) if normed else None
    self.cross_norm = LayerNorm(width, eps=eps) if normed and cross else None
    self.feedforward_norm = LayerNorm(width, eps=eps) if normed and self.feedforward is not None else None

  def __call__(self, x_BTM, see: See, *, caches=(None, None), key=None, **place):
    """The layer alone, in its wiring's order; returns (y_BTM, caches). place: further fields of Place."""
    y_BTM, caches = run(self.wiring.plan(1), [self], x_BTM, [Place(see, **place)], [caches], key)
    return y_BTM, caches[0]

  def look(self, x_BTM, place: Place, caches=(None, None), keys=(None, None)):
    """Self-attention, then cross-attention if there is any; returns (y_BTM, caches). keys: dropout."""
    to_itself = lambda h_BTM: self._to_itself(x_BTM, h_BTM, place, caches[0])  # noqa: E731
    x_BTM, own = self._wire(self.attention_norm, to_itself, x_BTM, keys[0])
    if self.cross is None:
      return x_BTM, (own, None)
    cross = self.cross
    look = lambda h_BTM: self._to_memory(cross, h_BTM, place, caches[1])  # noqa: E731
    x_BTM, other = self._wire(self.cross_norm, look, x_BTM, keys[1])
    return x_BTM, (own, other)

  def feed(self, x_BTM, key=None):
    """The feed-forward sublayer."""
    if self.feedforward is None:
      return x_BTM
    feedforward = self.feedforward
    return self._wire(self.feedforward_norm, lambda h_BTM: (feedforward(h_BTM), None), x_BTM, key)[0]

  def both(self, x_BTM, place: Place, caches=(None, None), keys=(None, None)):
    """Self-attention and feed-forward of the same input, added up; returns (y_BTM, caches)."""
    if self.feedforward is None:
      return self.look(x_BTM, place, caches, keys)
    fed_BTM = self.feedforward(self._before(self.feedforward_norm, x_BTM))

    def sublayers(h_BTM):
      y_BTM, own = self._to_itself(x_BTM, h_BTM, place, caches[0])
      return y_BTM + fed_BTM, (own, None)

    return self._wire(self.attention_norm, sublayers, x_BTM, keys[0])

  def _to_itself(self, x_BTM, h_BTM, place: Place, cache):
    """Self-attention of x_BTM, which has passed the norm as h_BTM; what is remembered passes it too."""
    states = [] if place.before is None else [place.before.state_BSM]
    states += [x_BTM] if place.again else []
    if not states:
      return _attend(self.attention, h_BTM, h_BTM, place.see, place, cache, place.names[0])
    state_BSM = self._before(self.attention_norm, jax.lax.stop_gradient(jnp.concatenate(states, 1)))
    memory_BSM = jnp.concatenate([state_BSM.astype(h_BTM.dtype), h_BTM], 1)
    return _attend(self.attention, h_BTM, memory_BSM, place.see, place, cache, place.names[0])

  def _to_memory(self, heads: Heads, h_BTM, place: Place, cache):
    apart = place._replace(position=None, again=False)  # no scheme relates a place here to one there
    return _attend(heads, h_BTM, place.memory_BSM, place.cross_see, apart, cache, place.names[1])

  def _before(self, norm, x_BTM):
    return norm(x_BTM) if self.wiring.norm == "pre" else x_BTM

  def _wire(self, norm, sublayer: Callable, x_BTM, key):
    """The sublayer with norm, dropout and residual around it; returns (y_BTM, whatever the sublayer carries)."""
    y_BTM, carried = sublayer(self._before(norm, x_BTM))
    if self.dropout is not None:
      y_BTM = self.dropout(y_BTM, key)
    if self.wiring.residual:
      y_BTM = x_BTM + y_BTM
    return (norm(y_BTM) if self.wiring.norm == "post" else y_BTM), carried


def run(plan, blocks, x_BTM, places, caches=None, key=None, inputs=None):
  """Sublayers in the order of the plan; returns (y_BTM, caches per layer).

  places, caches: one per layer. key: dropout, None = evaluation. inputs: a list to which the input of every attention
  sublayer is appended, layer by layer.
  """
  keys = [[None] * 3 if key is None else jax.random.split(one, 3) for one in _split(key, len(blocks))]
  caches = [(None, None)] * len(blocks) if caches is None else list(caches)
  for letter, layer in plan:
    block, of_layer = blocks[layer], keys[layer]
    if letter == "f":
      x_BTM = block.feed(x_BTM, of_layer[2])
      continue
    if inputs is not None:
      inputs.append(x_BTM)
    sublayer = block.both if letter == "p" else block.look
    x_BTM, caches[layer] = sublayer(x_BTM, places[layer], caches[layer], of_layer[:2])
  return x_BTM, tuple(caches)


def _split(key, count: int) -> list:
  return [None] * count if key is None else list(jax.random.split(key, count))


def joined(first: Where, second: Where) -> Where:
  """The columns of `first`, then those of `second`."""
  batch = max(first.pos_BT.shape[0], second.pos_BT.shape[0])
  sides = zip(first, second, strict=True)
  return Where(*(jnp.concatenate([_rows(a, batch), _rows(b, batch)], 1) for a, b in sides))


def _rows(a_BT, batch: int):
  return jnp.broadcast_to(jnp.asarray(a_BT, jnp.int32), (batch, a_BT.shape[1]))


def heads_of(settings, layer: int = 0, cross: bool = False) -> Heads:
  """The heads of a complete model dict, for self-attention or between two sequences."""
  names = ("heads", "kv_heads", "head_dim", "value_dim", "tie", "projections", "bias", "block")
  own, mechanism = {name: settings[name] for name in names}, settings["attention"]
  if cross and not build.resolve("attention", mechanism["kind"]).supports.cross:
    mechanism = {"kind": "dot"}  # as the papers do: their pattern has no meaning between two sequences
  return Heads(settings["width"], mechanism=mechanism, layer=layer, **own)


def _attend(heads: Heads, x_BTM, memory_BSM, see, place: Place, cache, name: str):
  """The heads' answer; what they recorded gets the name of this place."""
  start = 0 if place.record is None else len(place.record)
  y_BTM, cache = heads(x_BTM, memory_BSM, see, position=place.position, cache=cache, record=place.record)
  for entry in (place.record or [])[start:]:
    entry["name"] = name
    if place.again:
      entry["weights_BKGTS"] = _once(entry["weights_BKGTS"], x_BTM.shape[1])
  return y_BTM, cache


def _once(weights_BKGTS, length: int):
  """The weights of a row whose columns stood twice: each query sees a token in one of its two places."""
  if weights_BKGTS is None:
    return None
  keys = weights_BKGTS.shape[-1]
  before, earlier, own = jnp.split(weights_BKGTS, [keys - 2 * length, keys - length], -1)
  return jnp.concatenate([before, earlier + own], -1)
