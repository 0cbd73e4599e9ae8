"""A residual block: sublayers f (attention, cross-attention, feed-forward), each in its wiring.

pre: x + f(LN(x)) (Xiong et al. 2020); post: LN(x + f(x)) (Vaswani et al. 2017); none: x + f(x); without residual the
x + is left out. Dropout (Srivastava et al. 2014) stands on f's output, before the addition.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from model import build, initial, order
from model.dropout import Dropout
from model.errors import Refused
from model.heads import Heads
from model.mask import Mask, Positions


class Memory(NamedTuple):
  """What a layer read in the stretches before (Dai et al. 2019): its inputs, without gradient, and where they stood.

  mark_BS: which of them the mechanism picks out by content; None where nobody asks.
  """

  state_BSM: jax.Array
  positions: Positions
  mark_BS: jax.Array | None = None


class Context(NamedTuple):
  """All that an attention sublayer is told beside its input."""

  mask: Mask
  scheme: nnx.Module | None = None
  memory_BSM: jax.Array | None = None  # of cross-attention
  cross_mask: Mask | None = None
  before: Memory | None = None  # earlier stretches, whose columns stand in front of all others in mask.k
  again: bool = False  # the row stands in mask.k twice: first as what is remembered, without gradient, then as it is
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


class Block(nnx.Module):
  """One layer: x + attention(norm(x)), x + cross(norm(x)) when `cross`, then x + feedforward(norm(x)).

  That is norm="pre"; `_before` and `_add` have the other wirings, model/order.py the other orders of sublayers.
  `settings` is a complete model dict (`build.complete`); `layer` its index in the stack.
  """

  def __init__(self, settings, *, layer: int, cross: bool = False):
    width = settings["width"]
    self.wiring = order.Wiring(**settings["wiring"])
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

  def __call__(self, x_BTM, mask: Mask, *, caches=(None, None), key=None, **context):
    """The layer alone, in its wiring's order; returns (y_BTM, caches). context: further fields of Context."""
    y_BTM, caches = order.run(self.wiring.plan(1), [self], x_BTM, [Context(mask, **context)], [caches], key)
    return y_BTM, caches[0]

  def attend(self, x_BTM, context: Context, caches=(None, None), keys=(None, None)):
    """X + attention(norm(x)), then x + cross(norm(x)) if there is one; returns (y_BTM, caches). keys: dropout."""
    key, h_BTM = keys[0], self._before(self.attention_norm, x_BTM)
    a_BTM, own = self._to_itself(x_BTM, h_BTM, context, caches[0], key)
    x_BTM = self._add(self.attention_norm, x_BTM, a_BTM, key)
    if self.cross is None:
      return x_BTM, (own, None)
    key, h_BTM = keys[1], self._before(self.cross_norm, x_BTM)
    a_BTM, other = self._to_memory(self.cross, h_BTM, context, caches[1], key)
    return self._add(self.cross_norm, x_BTM, a_BTM, key), (own, other)

  def feed(self, x_BTM, key=None):
    """X + feedforward(norm(x)), or x where there is none."""
    if self.feedforward is None:
      return x_BTM
    h_BTM = self._before(self.feedforward_norm, x_BTM)
    return self._add(self.feedforward_norm, x_BTM, self.feedforward(h_BTM), key)

  def attend_and_feed(self, x_BTM, context: Context, caches=(None, None), keys=(None, None)):
    """X + attention(norm(x)) + feedforward(norm'(x)), in parallel; returns (y_BTM, caches)."""
    if self.feedforward is None:
      return self.attend(x_BTM, context, caches, keys)
    f_BTM = self.feedforward(self._before(self.feedforward_norm, x_BTM))
    key, h_BTM = keys[0], self._before(self.attention_norm, x_BTM)
    a_BTM, own = self._to_itself(x_BTM, h_BTM, context, caches[0], key)
    return self._add(self.attention_norm, x_BTM, a_BTM + f_BTM, key), (own, None)

  def _to_itself(self, x_BTM, h_BTM, context: Context, cache=None, key=None):
    """Self-attention of x_BTM, which has passed the norm as h_BTM; what is remembered passes it too."""
    states = [] if context.before is None else [context.before.state_BSM]
    states += [x_BTM] if context.again else []
    if not states:
      return _attend(self.attention, h_BTM, h_BTM, context.mask, context, cache, key, context.names[0])
    state_BSM = self._before(self.attention_norm, jax.lax.stop_gradient(jnp.concatenate(states, 1)))
    memory_BSM = jnp.concatenate([state_BSM.astype(h_BTM.dtype), h_BTM], 1)
    return _attend(self.attention, h_BTM, memory_BSM, context.mask, context, cache, key, context.names[0])

  def _to_memory(self, heads: Heads, h_BTM, context: Context, cache, key):
    apart = context._replace(scheme=None, again=False)  # no scheme relates a place here to one there
    return _attend(heads, h_BTM, context.memory_BSM, context.cross_mask, apart, cache, key, context.names[1])

  def _before(self, norm, x_BTM):
    """What a sublayer reads: norm(x) where norms stand before it."""
    return norm(x_BTM) if self.wiring.norm == "pre" else x_BTM

  def _add(self, norm, x_BTM, y_BTM, key):
    """The sublayer's answer y, after dropout, added to x; norm(x + y) where norms stand behind."""
    if self.dropout is not None:
      y_BTM = self.dropout(y_BTM, key)
    if self.wiring.residual:
      y_BTM = x_BTM + y_BTM
    return norm(y_BTM) if self.wiring.norm == "post" else y_BTM


def heads_of(settings, layer: int = 0, cross: bool = False) -> Heads:
  """The heads of a complete model dict, for self-attention or between two sequences."""
  names = ("heads", "kv_heads", "head_dim", "value_dim", "tie", "projections", "bias", "block")
  own, mechanism = {name: settings[name] for name in names}, settings["attention"]
  own["dropout"] = settings["attention_dropout"]
  if cross and not build.resolve("attention", mechanism["kind"]).supports.cross:
    mechanism = {"kind": "dot"}  # as the papers do: their pattern has no meaning between two sequences
  return Heads(settings["width"], mechanism=mechanism, layer=layer, **own)


def _attend(heads: Heads, x_BTM, memory_BSM, mask, context: Context, cache, key, name: str):
  """The heads' answer; what they recorded gets the name of this place."""
  start = 0 if context.record is None else len(context.record)
  told = {"scheme": context.scheme, "cache": cache, "record": context.record}
  y_BTM, cache = heads(x_BTM, memory_BSM, mask, key=key, **told)
  for entry in (context.record or [])[start:]:
    entry["name"] = name
    if context.again:
      entry["weights_BKGTS"] = _once(entry["weights_BKGTS"], x_BTM.shape[1])
  return y_BTM, cache


def _once(weights_BKGTS, length: int):
  """The weights of a row whose columns stood twice: each query sees a token in one of its two places."""
  if weights_BKGTS is None:
    return None
  keys = weights_BKGTS.shape[-1]
  before, earlier, own = jnp.split(weights_BKGTS, [keys - 2 * length, keys - length], -1)
  return jnp.concatenate([before, earlier + own], -1)
