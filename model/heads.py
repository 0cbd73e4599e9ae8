"""Multi-head attention (Vaswani et al. 2017), grouped (Ainslie et al. 2023) and multi-query (Shazeer 2019):
y = sum_h softmax(score(x W_Q, m W_K)) (m W_V) W_O. All are points of one class: heads, kv_heads, tied projections.
"""

import jax.numpy as jnp
from flax import nnx

from model.build import make
from model.errors import Refused
from model.initial import param
from model.see import See, Where

TIES = ("none", "qk", "kv", "qkv")


class Heads(nnx.Module):
  """Projections around a mechanism. 0 means as usual: kv_heads = heads, head_dim = width/heads, value_dim = head_dim.

  tie: "qk" keys use the query projection, "kv" values use the key projection, "qkv" both.
  mechanism: options of a file in model/attention, as {"kind": "dot", ...}. The position scheme comes with the call,
  because one may serve all layers.
  """

  def __init__(
    self,
    width: int,
    *,
    heads: int,
    kv_heads: int = 0,
    head_dim: int = 0,
    value_dim: int = 0,
    tie: str = "none",
    bias: bool = False,
    mechanism,
    layer: int = 0,
    block: int = 0,
  ):
    kv_heads = kv_heads or heads
    if heads < 1:
      raise Refused(f"heads={heads} attend to nothing; give at least 1")
    if not head_dim and width % heads:
      raise Refused(f"width={width} is not a multiple of heads={heads}; change one, or give head_dim")
    head_dim = head_dim or width // heads
    value_dim = value_dim or head_dim
    _check(heads, kv_heads, head_dim, value_dim, tie)
    groups = heads // kv_heads
    self.tie, self.block, self.layer = tie, block or None, layer
    self.kv_heads, self.head_dim, self.value_dim, self.bias = kv_heads, head_dim, value_dim, bias

    def project(name, role, *shape):
      out = shape[0] * shape[1] * (shape[2] if len(shape) == 3 else 1)
      setattr(self, name, param((width, *shape), role, fan_in=width, fan_out=out))
      if bias:
        setattr(self, name + "_bias", param(shape, "bias", fan_in=width))

    project("query", "query", kv_heads, groups, head_dim)
    if tie in ("none", "kv"):
      project("key", "key", kv_heads, head_dim)
    if tie in ("none", "qk"):
      project("value", "value", kv_heads, value_dim)
    self.out = param((kv_heads, groups, value_dim, width), "out", fan_in=heads * value_dim, fan_out=width)
    if bias:
      self.out_bias = param((width,), "bias", fan_in=heads * value_dim)
    self.mechanism = make("attention", mechanism, heads=heads, head_dim=head_dim, layer=layer)

  def __call__(self, x_BTM, memory_BSM, see: See, *, position=None, cache=None, record=None, key=None):
    """Returns (y_BTM, cache). The keys come from memory_BSM, described by see.k.

    cache: from `empty_cache`; the new keys are written to it, then all of it is attended over. With memory_BSM None
    only the cache is read. record: a list to which weights (B, K, G, T, S) and head outputs (B, T, K, G, Dv) are
    appended. key: randomness of the mechanism; None = evaluation.
    """
    q_BTKGD = self._queries(x_BTM, see.q, position)
    if memory_BSM is not None:
      k_BSKD, v_BSKD = self._keys_values(memory_BSM, see.k, position)
      if cache is not None:
        cache = _write(cache, k_BSKD, v_BSKD, see.k)
    if cache is not None:
      k_BSKD, v_BSKD = (cache[name].astype(x_BTM.dtype) for name in ("key", "value"))
      see = See(see.q, cache["where"], see.rule, see.mark_BS)
    elif memory_BSM is None:
      raise Refused("attention was given neither a memory nor a cache; give one of them")
    out_BTKGD, _ = self.mechanism(q_BTKGD, k_BSKD, v_BSKD, see, position, block=self.block, key=key)
    if record is not None:
      has_weights = self.mechanism.supports.weights != "none"
      weights_BKGTS = self.mechanism.weights(q_BTKGD, k_BSKD, see, position) if has_weights else None
      record.append({"layer": self.layer, "weights_BKGTS": weights_BKGTS, "out_BTKGD": out_BTKGD})
    y_BTM = jnp.einsum("btkgd,kgdm->btm", out_BTKGD, self.out[...].astype(x_BTM.dtype))
    return (y_BTM + self.out_bias[...].astype(x_BTM.dtype) if self.bias else y_BTM), cache

  def empty_cache(self, batch: int, slots: int, dtype=jnp.float32) -> dict:
    """A ring of `slots` keys and values without content; when it is full the oldest key is overwritten."""
    nothing_BS = jnp.zeros((batch, slots), jnp.int32)
    return {
      "key": jnp.zeros((batch, slots, self.kv_heads, self.head_dim), dtype),
      "value": jnp.zeros((batch, slots, self.kv_heads, self.value_dim), dtype),
      "where": Where(nothing_BS, nothing_BS),
      "index": jnp.zeros((batch,), jnp.int32),
    }

  def _queries(self, x_BTM, where, position):
    q_BTKGD = self._apply("query", x_BTM)
    if position is None:
      return q_BTKGD
    B, T, K, G, D = q_BTKGD.shape
    return position.rotate(q_BTKGD.reshape(B, T, K * G, D), where).reshape(q_BTKGD.shape)

  def _keys_values(self, memory_BSM, where, position):
    k_BSKD = (
      self._apply("key", memory_BSM) if self.tie in ("none", "kv") else self._apply("query", memory_BSM)[:, :, :, 0]
    )
    v_BSKD = self._apply("value", memory_BSM) if self.tie in ("none", "qk") else k_BSKD
    return (k_BSKD if position is None else position.rotate(k_BSKD, where)), v_BSKD  # values carry no rotation

  def _apply(self, name, x_BTM):
    kernel = getattr(self, name)[...].astype(x_BTM.dtype)
    y = jnp.tensordot(x_BTM, kernel, 1)
    return y + getattr(self, name + "_bias")[...].astype(x_BTM.dtype) if self.bias else y


def _check(heads, kv_heads, head_dim, value_dim, tie):
  if heads % kv_heads:
    raise Refused(f"heads={heads} cannot share kv_heads={kv_heads}; heads must be a multiple of kv_heads")
  if tie not in TIES:
    raise Refused(f"tie={tie!r} is unknown; choose one of {', '.join(TIES)}")
  if tie in ("qk", "qkv") and heads != kv_heads:
    raise Refused(f"tie={tie!r} needs as many keys as queries, not heads={heads} and kv_heads={kv_heads}")
  if tie in ("kv", "qkv") and head_dim != value_dim:
    raise Refused(f"tie={tie!r} needs values as wide as keys, not head_dim={head_dim} and value_dim={value_dim}")


def _write(cache, k_BSKD, v_BSKD, where):
  """The cache with new keys at the write index, which moves on and wraps around."""
  batch, slots = cache["where"].pos_BT.shape
  new = k_BSKD.shape[1]
  if new > slots:
    raise Refused(f"{new} new keys do not fit into a cache of {slots} slots; make it longer")
  at = (jnp.arange(batch)[:, None], (cache["index"][:, None] + jnp.arange(new)) % slots)
  pos_BS, segment_BS = (jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, new)) for a in where)
  return {
    "key": cache["key"].at[at].set(k_BSKD.astype(cache["key"].dtype)),
    "value": cache["value"].at[at].set(v_BSKD.astype(cache["value"].dtype)),
    "where": Where(cache["where"].pos_BT.at[at].set(pos_BS), cache["where"].segment_BT.at[at].set(segment_BS)),
    "index": (cache["index"] + new) % slots,
  }
