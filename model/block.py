"""A residual block: sublayers f (attention, cross-attention, feed-forward), each in its wiring.

pre: x + f(LN(x)) (Xiong et al. 2020); post: LN(x + f(x)) (Vaswani et al. 2017); none: x + f(x); without residual the
x + is left out. Dropout (Srivastava et al. 2014) stands on f's output, before the addition.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from model import build, initial
from model.heads import Heads
from model.see import See


@dataclasses.dataclass(frozen=True)
class Wiring:
  """Where the norm stands ("pre", "post" or "none") and whether the input is added to the output."""

  norm: str = "pre"
  residual: bool = True


class LayerNorm(nnx.Module):
  """Ba et al. 2016: (x - mean) / sqrt(var + eps) * gain + bias, statistics in float32."""

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
  """One layer: self-attention, cross-attention when `cross`, feed-forward.

  `settings` is a complete model dict (`build.complete`); `layer` its index in the stack.
  """

  def __init__(self, settings, *, layer: int, cross: bool = False):
    width = settings["width"]
    self.wiring = Wiring(**settings["wiring"])
    self.dropout = Dropout(settings["dropout"]) if settings["dropout"] > 0 else None
    self.attention = _heads(settings, layer)
    self.cross = _heads(settings, layer) if cross else None
    feedforward = build.make("feedforward", settings["feedforward"], width=width)
    self.feedforward = None if getattr(feedforward, "absent", False) else feedforward
    normed = self.wiring.norm != "none"
    self.attention_norm = LayerNorm(width) if normed else None
    self.cross_norm = LayerNorm(width) if normed and cross else None
    self.feedforward_norm = LayerNorm(width) if normed and self.feedforward is not None else None

  def __call__(
    self,
    x_BTM,
    see: See,
    *,
    position=None,
    memory_BSM=None,
    cross_see: See | None = None,
    caches=(None, None),
    key=None,
    record=None,
    names=("", ""),
  ):
    """Returns (y_BTM, caches), the caches of self- and cross-attention.

    memory_BSM and cross_see feed the cross-attention. key: dropout, None = evaluation. names: what records are called.
    """
    keys = [None] * 3 if key is None else list(jax.random.split(key, 3))
    (cache, cross_cache), cross, feedforward = caches, self.cross, self.feedforward

    def to_itself(h_BTM):
      return _attend(self.attention, h_BTM, h_BTM, see, position, cache, record, names[0])

    x_BTM, cache_after = self._wire(self.attention_norm, to_itself, x_BTM, keys[0])
    cross_after = None
    if cross is not None:

      def to_memory(h_BTM):
        return _attend(cross, h_BTM, memory_BSM, cross_see, None, cross_cache, record, names[1])

      x_BTM, cross_after = self._wire(self.cross_norm, to_memory, x_BTM, keys[1])
    if feedforward is not None:
      x_BTM, _ = self._wire(self.feedforward_norm, lambda h_BTM: (feedforward(h_BTM), None), x_BTM, keys[2])
    return x_BTM, (cache_after, cross_after)

  def _wire(self, norm, sublayer: Callable, x_BTM, key):
    """The sublayer with norm, dropout and residual around it; returns (y_BTM, whatever the sublayer carries)."""
    y_BTM, carried = sublayer(norm(x_BTM) if self.wiring.norm == "pre" else x_BTM)
    if self.dropout is not None:
      y_BTM = self.dropout(y_BTM, key)
    if self.wiring.residual:
      y_BTM = x_BTM + y_BTM
    return (norm(y_BTM) if self.wiring.norm == "post" else y_BTM), carried


def _heads(settings, layer: int) -> Heads:
  names = ("heads", "kv_heads", "head_dim", "value_dim", "tie", "bias", "block")
  own = {name: settings[name] for name in names}
  return Heads(settings["width"], mechanism=settings["attention"], layer=layer, **own)


def _attend(heads: Heads, x_BTM, memory_BSM, see, position, cache, record, name: str):
  """The heads' answer; what they recorded gets the name of this place."""
  start = 0 if record is None else len(record)
  y_BTM, cache = heads(x_BTM, memory_BSM, see, position=position, cache=cache, record=record)
  for entry in (record or [])[start:]:
    entry["name"] = name
  return y_BTM, cache
