"""Attention in one path, dense or by blocks of keys: o = sum_s w v, w = softmax(score), lse = log sum_s exp(score).

By blocks it is the online softmax of Milakov & Gimelshein 2018: a running maximum and a running sum.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from model.errors import Refused
from model.see import Rule, See, causal, everything


@dataclasses.dataclass(frozen=True)
class Supports:
  """What a mechanism can do; each True is tested. `weights`: a "distribution" over keys, "signed" numbers or "none"."""

  causal: bool = True
  bidirectional: bool = True
  rules: bool = True  # any rule of see.py, not only causal() and everything()
  cross: bool = True  # queries and keys of different sequences, in any order; if not, cross-attention is dot
  tied: bool = False  # the keys must be the queries: heads.py ties the two projections
  rotate: bool = True  # queries and keys turned by position
  inside: bool = True  # position terms added to q.k
  after: bool = True  # position terms added to the score
  values: bool = True  # position terms added to the output
  gqa: bool = True  # several queries per key head
  blockwise: bool = True  # `block` is obeyed
  merges: bool = True  # returns a log-sum-exp, so that parts of the keys merge
  state: bool = False  # decodes with a state of constant size in place of a cache of keys
  weights: str = "distribution"


class Mechanism(nnx.Module):
  """Turns queries, keys and values into outputs. Most mechanisms only define `scores`."""

  views = 1  # how many sets of q, k, v it reads; with more than one, q, k and v are tuples with one array per view
  symbols: tuple[int, ...] = ()  # tokens with one of these symbols in their first field are marked in See.mark_BS
  counts = False  # its pattern counts from the first key of a document, which must therefore be in sight
  supports = Supports()

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0):
    self.heads, self.head_dim, self.layer = heads, head_dim, layer

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    """Scores (B, K, G, T, S), float32 or wider, before any mask; keys are never repeated over G."""
    raise TypeError(f"{type(self).__name__} defines neither scores nor __call__")

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, see, position=None, *, block=None, key=None):
    """Output (B, T, K, G, Dv) in v's dtype and log-sum-exp (B, K, G, T) in float32, -inf where nothing is seen.

    block: number of keys worked on at a time; None = all. key: randomness, None = evaluation.
    """
    return attend(self, q_BTKGD, k_BSKD, v_BSKD, see, position, block)

  def turn(self, x_BTHD, where, position):
    """Queries or keys of one view as the scheme turns them by their positions, (B, T, H, D)."""
    return position.rotate(x_BTHD, where)

  def narrow(self, see: See) -> See:
    """What is seen once the mechanism's own pattern is taken into account; the efficient path must agree with it."""
    return see

  def recall(self, q_BTKGD, k_BSKD, v_BSKD, see, position=None):
    """The same answer over a cache: keys in any order, some of them empty. Costs T times S."""
    if self.supports.cross:
      return self(q_BTKGD, k_BSKD, v_BSKD, see, position)
    return attend(self, q_BTKGD, k_BSKD, v_BSKD, self.narrow(see), position)

  def start(self, batch: int, kv_heads: int, value_dim: int, dtype):
    """The state that step-by-step decoding carries, batch first; for mechanisms that support `state`."""
    raise TypeError(f"{type(self).__name__} attention keeps no state")

  def advance(self, state, q_BTKGD, k_BSKD, v_BSKD, see):
    """(output, state) after new keys, which the queries see causally; without keys (None) the state is only read."""
    raise TypeError(f"{type(self).__name__} attention keeps no state")

  def weights(self, q_BTKGD, k_BSKD, see, position=None):
    """The distribution over keys, (B, K, G, T, S); rows that see nothing are 0."""
    self.admit(position)
    score_BKGTS, seen_B11TS = masked(self, q_BTKGD, k_BSKD, self.narrow(see), position)
    w_BKGTS, _ = _unnormalized(score_BKGTS, seen_B11TS)
    total_BKGT1 = w_BKGTS.sum(-1, keepdims=True)
    return w_BKGTS / jnp.where(total_BKGT1 > 0, total_BKGT1, 1.0)

  def admit(self, position=None, rule: Rule | None = None, block: int | None = None):
    """Refuses a position scheme, a rule or a block that this mechanism has no place for."""
    name = type(self).__name__
    for hook, place in HOOKS.items():
      if position is not None and position.acts(hook) and not getattr(self.supports, hook):
        raise Refused(
          f"{name} attention has no place for what {type(position).__name__} positions {place}; "
          "use dot attention, or positions none, sinusoidal or learned"
        )
    if block is not None and not self.supports.blockwise:
      raise Refused(f"{name} attention does not work by blocks of keys: block={block}; use block=0")
    if block is not None and block < 1:
      raise Refused(f"block={block} holds no key; give the number of keys per block, or 0 in a config for all at once")
    plain = {causal(): self.supports.causal, everything(): self.supports.bidirectional}
    if rule is not None and not plain.get(rule, self.supports.rules):
      able = [
        word for word, can in (("causal", self.supports.causal), ("both ways", self.supports.bidirectional)) if can
      ]
      raise Refused(
        f"{name} attention cannot look by the rule {rule}; it looks {' or '.join(able)}, with model.window=0, "
        "model.segment=0 and model.itself=True"
      )


HOOKS = {"rotate": "turn", "inside": "add to q.k", "after": "add to the score", "values": "add to the output"}


def attend(mechanism, q_BTKGD, k_BSKD, v_BSKD, see: See, position=None, block: int | None = None):
  """Softmax attention under any rule; returns (o_BTKGD, lse_BKGT) as Mechanism.__call__ does.

  A query that sees nothing gives 0 and no gradient. With `block` the memory grows as T * block, forward and backward.
  """
  mechanism.admit(position, block=block)
  if block is None or block >= k_BSKD.shape[1]:
    out_BTKGD, top_BKGT, sum_BKGT = _part(mechanism, q_BTKGD, k_BSKD, v_BSKD, see, position)
  else:
    out_BTKGD, top_BKGT, sum_BKGT = _by_blocks(mechanism, q_BTKGD, k_BSKD, v_BSKD, see, position, block)
  seen_BKGT = sum_BKGT > 0
  safe_BKGT = jnp.where(seen_BKGT, sum_BKGT, 1.0)  # a guarded division: 0/0 would poison the gradient
  lse_BKGT = jnp.where(seen_BKGT, _finite(top_BKGT) + jnp.log(safe_BKGT), -jnp.inf)
  return (out_BTKGD / _as_column(safe_BKGT)).astype(v_BSKD.dtype), lse_BKGT


def products(q_BTKGD, k_BSKD):
  """q.k per head, (B, K, G, T, S), accumulated in float32 or wider."""
  B, T, K, G, D = q_BTKGD.shape
  wide = jnp.promote_types(q_BTKGD.dtype, jnp.float32)
  # The five-index einsum costs twice the time on CPU: drop G when it is 1, else fold it into the query axis.
  if G == 1:
    return jnp.einsum("btkd,bskd->bkts", q_BTKGD[:, :, :, 0], k_BSKD, preferred_element_type=wide)[:, :, None]
  q_BKXD = q_BTKGD.transpose(0, 2, 3, 1, 4).reshape(B, K, G * T, D)
  return jnp.einsum("bkxd,bskd->bkxs", q_BKXD, k_BSKD, preferred_element_type=wide).reshape(B, K, G, T, -1)


def mix(w_BKGTS, v_BSKD):
  """Values summed with the weights, (B, T, K, G, Dv), accumulated in float32 or wider."""
  B, K, G, T, S = w_BKGTS.shape
  wide = jnp.promote_types(v_BSKD.dtype, jnp.float32)
  w_BKGTS = w_BKGTS.astype(v_BSKD.dtype)
  if G == 1:
    return jnp.einsum("bkts,bskd->btkd", w_BKGTS[:, :, 0], v_BSKD, preferred_element_type=wide)[:, :, :, None]
  w_BKXS = w_BKGTS.reshape(B, K, G * T, S)
  out_BKXD = jnp.einsum("bkxs,bskd->bkxd", w_BKXS, v_BSKD, preferred_element_type=wide)
  return out_BKXD.reshape(B, K, G, T, -1).transpose(0, 3, 1, 2, 4)


def masked(mechanism, q_BTKGD, k_BSKD, see, position):
  """Scores with every position term, -inf where the rule forbids; and the rule, (B|1, 1, 1, T, S)."""
  inside = position.inside(q_BTKGD, k_BSKD, see.q, see.k) if position is not None and position.acts("inside") else 0.0
  score_BKGTS = mechanism.scores(q_BTKGD, k_BSKD, inside)
  if position is not None and position.acts("after"):
    term_BHTS = position.after(see.q, see.k)
    heads = score_BKGTS.shape[1:3] if term_BHTS.shape[1] > 1 else (1, 1)
    score_BKGTS += term_BHTS.reshape(term_BHTS.shape[0], *heads, *term_BHTS.shape[2:])
  seen_B11TS = see.tile()[:, None, None]
  return jnp.where(seen_B11TS, score_BKGTS, -jnp.inf), seen_B11TS


def _unnormalized(score_BKGTS, seen_B11TS):
  """exp(score - maximum), exactly 0 where forbidden, and the maximum (-inf where nothing is seen)."""
  top_BKGT = jax.lax.stop_gradient(score_BKGTS.max(-1))  # the result does not depend on it
  return jnp.where(seen_B11TS, jnp.exp(score_BKGTS - _finite(top_BKGT)[..., None]), 0.0), top_BKGT


def _part(mechanism, q_BTKGD, k_BSKD, v_BSKD, see, position):
  """Output before the division, maximum and sum over the keys given."""
  w_BKGTS, top_BKGT = _unnormalized(*masked(mechanism, q_BTKGD, k_BSKD, see, position))
  out_BTKGD = mix(w_BKGTS, v_BSKD)
  if position is not None and position.acts("values"):
    out_BTKGD += position.values(w_BKGTS, see.q, see.k)
  return out_BTKGD, top_BKGT, w_BKGTS.sum(-1)


def _by_blocks(mechanism, q_BTKGD, k_BSKD, v_BSKD, see, position, block):
  blocks = cut((k_BSKD, v_BSKD, see.k, see.mark_BS), block)

  def part(one):
    k_BSKD, v_BSKD, k_where, mark_BS = one
    return _part(mechanism, q_BTKGD, k_BSKD, v_BSKD, See(see.q, k_where, see.rule, mark_BS), position)

  def step(carry, one):
    return _join(carry, part(one)), None

  shapes = jax.eval_shape(part, jax.tree.map(lambda a: a[0], blocks))
  out, top, total = (jnp.zeros(a.shape, a.dtype) for a in shapes)
  # Without the checkpoint the backward pass would keep every block's weights, and memory would be quadratic again.
  carry, _ = jax.lax.scan(jax.checkpoint(step, prevent_cse=False), (out, top - jnp.inf, total), blocks)
  return carry


def cut(tree, block):
  """Every leaf (B, S, ...) as (S / block, B, block, ...), padded with zeros, that is with segment 0."""

  def split(a):
    a = jnp.asarray(a)
    a = jnp.pad(a, [(0, 0), (0, -a.shape[1] % block)] + [(0, 0)] * (a.ndim - 2))
    return jnp.moveaxis(a.reshape(a.shape[0], -1, block, *a.shape[2:]), 1, 0)

  return jax.tree.map(split, tree)


def _join(left, right):
  """Two disjoint sets of keys as one."""
  top_BKGT = jnp.maximum(left[1], right[1])
  factors = [jnp.exp(part[1] - _finite(top_BKGT)) for part in (left, right)]
  out_BTKGD = sum(_as_column(factor) * part[0] for factor, part in zip(factors, (left, right), strict=True))
  return out_BTKGD, top_BKGT, sum(factor * part[2] for factor, part in zip(factors, (left, right), strict=True))


def _finite(top_BKGT):
  """The maximum, or 0 where nothing is seen: -inf - -inf would be NaN."""
  return jnp.where(top_BKGT == -jnp.inf, 0.0, top_BKGT)


def _as_column(a_BKGT):
  return jnp.moveaxis(a_BKGT, -1, 1)[..., None]
