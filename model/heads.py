"""Multi-head attention (Vaswani et al. 2017), grouped (Ainslie et al. 2023) and multi-query (Shazeer 2019):
y = sum_h softmax(score(x W_Q, m W_K)) (m W_V) W_O. All are points of one class: heads, kv_heads, tied projections.
"""

import jax.numpy as jnp
from flax import nnx

from model.build import make
from model.dropout import Dropout
from model.errors import Refused
from model.initial import param
from model.mask import Mask, Positions
from model.schema import OPTIONS

TIES = OPTIONS["model.tie"].choices
LETTERS = "qkvo"


class Heads(nnx.Module):
  """Projections around a mechanism. 0 means as usual: kv_heads = heads, head_dim = width/heads, value_dim = head_dim.

  tie: "qk" keys use the query projection, "kv" values use the key projection, "qkv" both.
  projections: which of q, k, v and o (output) exist; a missing one cuts the width into heads, or joins them, as it is.
  With one head, "k" and an unscaled dot are Luong's "general", "" his "dot", "qk" and additive Bahdanau's attention.
  mechanism: options of a file in model/attention, as {"kind": "dot", ...}. The position scheme comes with the call,
  because one may serve all layers. A mechanism of several views gets a further set of projections for each.
  dropout: share of the attention weights that is lost in training.
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
    projections: str = LETTERS,
    bias: bool = False,
    mechanism,
    layer: int = 0,
    block: int = 0,
    dropout: float = 0.0,
  ):
    kv_heads = kv_heads or heads
    if heads < 1:
      raise Refused(f"heads={heads} attend to nothing; give at least 1")
    if not head_dim and width % heads:
      raise Refused(f"width={width} is not a multiple of heads={heads}; change one, or give head_dim")
    head_dim = head_dim or width // heads
    value_dim = value_dim or head_dim
    self.mechanism = make("attention", mechanism, heads=heads, head_dim=head_dim, layer=layer)
    tie = _tied(self.mechanism, tie)
    _check(heads, kv_heads, head_dim, value_dim, tie)
    _check_projections(projections, width, heads, kv_heads, head_dim, value_dim, tie)
    if heads != kv_heads and not self.mechanism.supports.gqa:
      raise Refused(f"{_name(self.mechanism)} attention needs as many keys as queries, not kv_heads={kv_heads}")
    self.mechanism.check(block=block or None)
    if dropout and not self.mechanism.supports.dropout:
      raise Refused(f"{_name(self.mechanism)} attention holds no weights to drop: attention_dropout={dropout}; use 0")
    self.drops = dropout > 0
    if dropout:
      self.mechanism.weights_dropout = Dropout(dropout)
    groups = heads // kv_heads
    self.tie, self.block, self.layer, self.projections = tie, block or None, layer, projections
    self.heads, self.kv_heads, self.head_dim, self.value_dim, self.bias = heads, kv_heads, head_dim, value_dim, bias

    def project(name, role, *shape):
      out = shape[0] * shape[1] * (shape[2] if len(shape) == 3 else 1)
      setattr(self, name, param((width, *shape), role, fan_in=width, fan_out=out))
      if bias:
        setattr(self, name + "_bias", param(shape, "bias", fan_in=width))

    for view in range(self.mechanism.views):
      if "q" in projections:
        project("query" + _suffix(view), "query", kv_heads, groups, head_dim)
      if "k" in projections and tie in ("none", "kv"):
        project("key" + _suffix(view), "key", kv_heads, head_dim)
      if "v" in projections and tie in ("none", "qk"):
        project("value" + _suffix(view), "value", kv_heads, value_dim)
    if "o" in projections:
      self.out = param((kv_heads, groups, value_dim, width), "out", fan_in=heads * value_dim, fan_out=width)
      if bias:
        self.out_bias = param((width,), "bias", fan_in=heads * value_dim)

  def __call__(self, x_BTM, memory_BSM, mask: Mask, *, scheme=None, cache=None, record=None, key=None):
    """Returns (y_BTM, cache). The keys come from memory_BSM, described by mask.k.

    cache: from `empty_cache`; the new keys are written to it, then all of it is attended over. With memory_BSM None
    only the cache is read. record: a list to which weights (B, K, G, T, S; None where the mechanism has none) and head
    outputs (B, T, K, G, Dv) are appended. key: randomness of the mechanism; None = evaluation.
    """
    if memory_BSM is None and cache is None:
      raise Refused("attention was given neither a memory nor a cache; give one of them")
    q = self._queries(x_BTM, mask.q, scheme)
    k, v = (None, None) if memory_BSM is None else self._keys_values(memory_BSM, mask.k, scheme)
    if cache is None:
      out_BTKGD, _ = self.mechanism(q, k, v, mask, scheme, block=self.block, key=key)
    elif self.mechanism.supports.state:
      out_BTKGD, cache = self.mechanism.advance(cache, q, k, v, mask)
    else:
      cache = cache if k is None else _write(cache, k, v, mask)
      k, v, mask = _read(cache, mask, x_BTM.dtype)
      out_BTKGD = self._over_cache(q, k, v, mask, scheme, key)
    if record is not None:
      has_weights = self.mechanism.supports.weights != "none" and k is not None
      weights_BKGTS = self.mechanism.weights(q, k, mask, scheme) if has_weights else None
      record.append({"layer": self.layer, "weights_BKGTS": weights_BKGTS, "out_BTKGD": out_BTKGD})
    return self._join(out_BTKGD, x_BTM.dtype), cache

  def _over_cache(self, q, k, v, mask, scheme, key):
    """Over a cache, in evaluation; only a recurrent decoder that reads before each step trains over one, by dot."""
    if key is None or not self.drops:
      return self.mechanism.over_cache(q, k, v, mask, scheme)[0]
    return self.mechanism(q, k, v, mask, scheme, key=key)[0]

  def marks(self, tokens_BTC):
    """Booleans (B, T): tokens that the mechanism picks out by content; None where it picks none."""
    symbols = self.mechanism.symbols
    return jnp.isin(tokens_BTC[..., 0], jnp.asarray(symbols, tokens_BTC.dtype)) if symbols else None

  def empty_cache(self, batch: int, slots: int, dtype=jnp.float32):
    """What step-by-step use carries, without content; every leaf has the batch as axis 0.

    A state of constant size where the mechanism has one; else a ring of `slots` keys and values: when it is full the
    oldest key is overwritten.
    """
    if self.mechanism.supports.state:
      return self.mechanism.start(batch, self.kv_heads, self.value_dim, dtype)
    nothing_BS = jnp.zeros((batch, slots), jnp.int32)
    key = tuple(jnp.zeros((batch, slots, self.kv_heads, self.head_dim), dtype) for _ in range(self.mechanism.views))
    value = tuple(jnp.zeros((batch, slots, self.kv_heads, self.value_dim), dtype) for _ in range(self.mechanism.views))
    return {
      "key": key,
      "value": value,
      "where": Positions(nothing_BS, nothing_BS),
      "mark": jnp.zeros((batch, slots), bool),
      "index": jnp.zeros((batch,), jnp.int32),
    }

  def _queries(self, x_BTM, positions, scheme):
    return _views([self._query(x_BTM, positions, scheme, _suffix(view)) for view in range(self.mechanism.views)])

  def _query(self, x_BTM, positions, scheme, suffix):
    if "q" in self.projections:
      q_BTKGD = self._apply("query" + suffix, x_BTM)
    else:
      q_BTKGD = x_BTM.reshape(*x_BTM.shape[:2], self.kv_heads, self.heads // self.kv_heads, self.head_dim)
    if scheme is None:
      return q_BTKGD
    B, T, K, G, D = q_BTKGD.shape
    return self.mechanism.turn(q_BTKGD.reshape(B, T, K * G, D), positions, scheme).reshape(q_BTKGD.shape)

  def _keys_values(self, memory_BSM, positions, scheme):
    found = [self._key_value(memory_BSM, positions, scheme, _suffix(view)) for view in range(self.mechanism.views)]
    return tuple(_views(side) for side in zip(*found, strict=True))

  def _key_value(self, memory_BSM, positions, scheme, suffix):
    if "k" not in self.projections:
      k_BSKD = memory_BSM.reshape(*memory_BSM.shape[:2], self.kv_heads, self.head_dim)
    elif self.tie in ("none", "kv"):
      k_BSKD = self._apply("key" + suffix, memory_BSM)
    else:
      k_BSKD = self._apply("query" + suffix, memory_BSM)[:, :, :, 0]
    if "v" not in self.projections:
      v_BSKD = memory_BSM.reshape(*memory_BSM.shape[:2], self.kv_heads, self.value_dim)
    else:
      v_BSKD = self._apply("value" + suffix, memory_BSM) if self.tie in ("none", "qk") else k_BSKD
    # Values carry no rotation.
    return (k_BSKD if scheme is None else self.mechanism.turn(k_BSKD, positions, scheme)), v_BSKD

  def _apply(self, name, x_BTM):
    kernel = getattr(self, name)[...].astype(x_BTM.dtype)
    y = jnp.tensordot(x_BTM, kernel, 1)
    return y + getattr(self, name + "_bias")[...].astype(x_BTM.dtype) if self.bias else y

  def _join(self, out_BTKGD, dtype):
    """The output projection, or the heads side by side."""
    if "o" not in self.projections:
      return out_BTKGD.reshape(*out_BTKGD.shape[:2], -1)
    y_BTM = jnp.einsum("btkgd,kgdm->btm", out_BTKGD, self.out[...].astype(dtype))
    return y_BTM + self.out_bias[...].astype(dtype) if self.bias else y_BTM


def _suffix(view: int) -> str:
  """Parameters of the first view have plain names, so that arms with one view and with two share them."""
  return f"_{view}" if view else ""


def _views(arrays):
  """What a mechanism is given: one array, or a tuple with one per view."""
  return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _name(mechanism) -> str:
  return type(mechanism).__name__


def _tied(mechanism, tie: str) -> str:
  """The tie in force: mechanisms whose keys are their queries bring their own."""
  if not mechanism.supports.tied or tie in ("qk", "qkv"):
    return tie
  if tie == "none":
    return "qk"
  raise Refused(f"{_name(mechanism)} attention uses its queries as keys: tie={tie!r} cannot be; use none, qk or qkv")


def _check(heads, kv_heads, head_dim, value_dim, tie):
  if heads % kv_heads:
    raise Refused(f"heads={heads} cannot share kv_heads={kv_heads}; heads must be a multiple of kv_heads")
  if tie not in TIES:
    raise Refused(f"tie={tie!r} is unknown; choose one of {', '.join(TIES)}")
  if tie in ("qk", "qkv") and heads != kv_heads:
    raise Refused(f"tie={tie!r} needs as many keys as queries, not heads={heads} and kv_heads={kv_heads}")
  if tie in ("kv", "qkv") and head_dim != value_dim:
    raise Refused(f"tie={tie!r} needs values as wide as keys, not head_dim={head_dim} and value_dim={value_dim}")


def _check_projections(projections, width, heads, kv_heads, head_dim, value_dim, tie):
  """A projection that is left out must have nothing to do: its input is as wide as its output, and it is not shared."""
  missing = [letter for letter in LETTERS if letter not in projections]
  if projections != "".join(letter for letter in LETTERS if letter in projections):
    raise Refused(f"projections={projections!r} is no choice of the letters qkvo in this order; use qkvo for all four")
  spans = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * value_dim, "o": heads * value_dim}
  for letter in missing:
    if spans[letter] != width:
      raise Refused(
        f"projections={projections!r} leaves out {letter}, which maps width={width} to {spans[letter]}; "
        "without it the two must be equal"
      )
  if tie != "none" and set(missing) & set("qkv"):
    raise Refused(f"projections={projections!r} and tie={tie!r} contradict each other; keep q, k and v to tie them")


def _write(cache, k, v, mask):
  """The cache with new keys at the write index, which moves on and wraps around."""
  keys, values = (side if isinstance(side, tuple) else (side,) for side in (k, v))
  batch, slots = cache["where"].pos_BT.shape
  new = keys[0].shape[1]
  if new > slots:
    raise Refused(f"{new} new keys do not fit into a cache of {slots} slots; make it longer")
  at = (jnp.arange(batch)[:, None], (cache["index"][:, None] + jnp.arange(new)) % slots)
  pos_BS, segment_BS = (jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, new)) for a in mask.k)
  mark_BS = jnp.zeros((1, 1), bool) if mask.mark_BS is None else mask.mark_BS

  def put(old, fresh):
    return old.at[at].set(jnp.broadcast_to(fresh, (batch, new, *old.shape[2:])).astype(old.dtype))

  return {
    "key": tuple(map(put, cache["key"], keys)),
    "value": tuple(map(put, cache["value"], values)),
    "where": Positions(put(cache["where"].pos_BT, pos_BS), put(cache["where"].segment_BT, segment_BS)),
    "mark": put(cache["mark"], mark_BS),
    "index": (cache["index"] + new) % slots,
  }


def _read(cache, mask, dtype):
  """Keys, values and who sees them, as a mechanism takes them."""
  k, v = (_views([one.astype(dtype) for one in cache[side]]) for side in ("key", "value"))
  return k, v, Mask(mask.q, cache["where"], mask.rule, cache["mark"])
