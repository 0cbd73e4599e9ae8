"""Softmax attention, dense or by blocks of keys: o = sum_s w v, w = softmax(score), lse = log sum_s exp(score).

Some of the keys give a Part, parts of disjoint keys join into one, and the last division gives o and lse: by blocks the
online softmax of Milakov & Gimelshein 2018. Two keys with scores 1 and 3, one a block, have the parts (v_1, 1, 1) and
(v_2, 3, 1), together (e^-2 v_1 + v_2, 3, e^-2 + 1); so lse = 3 + log(1 + e^-2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from model.kernels import cutting
from model.mask import Mask


class Part(NamedTuple):
  """What some of the keys give: sum of exp(score - top) v, top = the largest score, sum of exp(score - top).

  Where no key is seen top is -inf and both sums are 0. Attention over these keys alone is Part(o, lse, 1).
  """

  out_BTKGD: jax.Array
  top_BKGT: jax.Array
  sum_BKGT: jax.Array | float


def attend(mechanism, q_BTKGD, k_BSKD, v_BSKD, mask: Mask, scheme=None, block: int | None = None, key=None):
  """Softmax attention under any rule; returns (o_BTKGD, lse_BKGT) as Mechanism.__call__ does.

  A query that sees nothing gives 0 and no gradient. With `block` the memory grows as T * block, forward and backward.
  Weights that dropout takes count in the sum that divides, as they do where it comes after the softmax.
  """
  mechanism.check(scheme, block=block)

  def part(k_BSKD, v_BSKD, mask, key):
    w_BKGTS, top_BKGT = _exponentials(*masked(mechanism, q_BTKGD, k_BSKD, mask, scheme))
    return Part(read(mechanism.dropped(w_BKGTS, key), v_BSKD, mask, scheme), top_BKGT, w_BKGTS.sum(-1))

  if block is None or block >= k_BSKD.shape[1]:
    found = part(k_BSKD, v_BSKD, mask, key)
  else:
    found = by_blocks(part, join, in_blocks(k_BSKD, v_BSKD, mask, block), mask, mechanism.key_of_weights(key), _nothing)
  out_BTKGD, lse_BKGT = divided(found)
  return out_BTKGD.astype(v_BSKD.dtype), lse_BKGT


def weights(mechanism, q_BTKGD, k_BSKD, mask: Mask, scheme=None):
  """The distribution over keys, (B, K, G, T, S); rows that see nothing are 0."""
  w_BKGTS, _ = _exponentials(*masked(mechanism, q_BTKGD, k_BSKD, mask, scheme))
  total_BKGT1 = w_BKGTS.sum(-1, keepdims=True)
  return w_BKGTS / jnp.where(total_BKGT1 > 0, total_BKGT1, 1.0)


# ---------------------------------------------------------------------------------------------------------------------
# From queries and keys to weights, from weights and values to outputs


def masked(mechanism, q_BTKGD, k_BSKD, mask: Mask, scheme):
  """Scores with every position term, -inf where the rule forbids; and the rule, (B|1, 1, 1, T, S)."""
  inside = scheme.inside(q_BTKGD, k_BSKD, mask.q, mask.k) if scheme is not None and scheme.acts("inside") else 0.0
  score_BKGTS = mechanism.scores(q_BTKGD, k_BSKD, inside)
  if scheme is not None and scheme.acts("after"):
    term_BHTS = scheme.after(mask.q, mask.k)
    heads = score_BKGTS.shape[1:3] if term_BHTS.shape[1] > 1 else (1, 1)
    score_BKGTS += term_BHTS.reshape(term_BHTS.shape[0], *heads, *term_BHTS.shape[2:])
  seen_B11TS = mask.tile()[:, None, None]
  return jnp.where(seen_B11TS, score_BKGTS, -jnp.inf), seen_B11TS


def read(w_BKGTS, v_BSKD, mask: Mask, scheme=None):
  """Values summed with the weights, and what the scheme adds to them, (B, T, K, G, Dv), float32 or wider."""
  out_BTKGD = mix(w_BKGTS, v_BSKD)
  if scheme is not None and scheme.acts("values"):
    out_BTKGD += scheme.values(w_BKGTS, mask.q, mask.k)
  return out_BTKGD


def products(q_BTKGD, k_BSKD):
  """q.k per head, (B, K, G, T, S), accumulated in float32 or wider."""
  B, T, K, G, D = q_BTKGD.shape
  # The five-index einsum costs twice the time on CPU: drop G when it is 1, else fold it into the query axis.
  if G == 1:
    return wide_einsum("btkd,bskd->bkts", q_BTKGD[:, :, :, 0], k_BSKD)[:, :, None]
  q_BKXD = q_BTKGD.transpose(0, 2, 3, 1, 4).reshape(B, K, G * T, D)
  return wide_einsum("bkxd,bskd->bkxs", q_BKXD, k_BSKD).reshape(B, K, G, T, -1)


def mix(w_BKGTS, v_BSKD):
  """Values summed with the weights, (B, T, K, G, Dv), accumulated in float32 or wider."""
  B, K, G, T, S = w_BKGTS.shape
  w_BKGTS = w_BKGTS.astype(v_BSKD.dtype)
  if G == 1:
    return wide_einsum("bkts,bskd->btkd", w_BKGTS[:, :, 0], v_BSKD)[:, :, :, None]
  out_BKXD = wide_einsum("bkxs,bskd->bkxd", w_BKGTS.reshape(B, K, G * T, S), v_BSKD)
  return out_BKXD.reshape(B, K, G, T, -1).transpose(0, 3, 1, 2, 4)


def wide_einsum(equation: str, a, b):
  """An einsum accumulated in float32 or wider."""
  return jnp.einsum(equation, a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def finite(top):
  """The maximum, or 0 where nothing is seen: -inf - -inf would be NaN."""
  return jnp.where(top == -jnp.inf, 0.0, top)


def _exponentials(score_BKGTS, seen_B11TS):
  """exp(score - maximum), exactly 0 where forbidden, and the maximum (-inf where nothing is seen)."""
  top_BKGT = jax.lax.stop_gradient(score_BKGTS.max(-1))  # the result does not depend on it
  return jnp.where(seen_B11TS, jnp.exp(score_BKGTS - finite(top_BKGT)[..., None]), 0.0), top_BKGT


# ---------------------------------------------------------------------------------------------------------------------
# Disjoint sets of keys


def by_blocks(part: Callable, add: Callable, blocks, mask: Mask, key=None, start: Callable | None = None) -> Any:
  """part(k, v, mask, key) of one block of keys after the other, added up.

  blocks: from `in_blocks`. key: each block gets one of its own from it. start: what zeros of a part's shapes become
  before the first block; None = they stay zeros.
  """
  xs = blocks, None if key is None else jax.random.split(key, blocks[0].shape[0])

  def of(one):
    (k_BSKD, v_BSKD, k_positions, mark_BS), key = one
    return part(k_BSKD, v_BSKD, Mask(mask.q, k_positions, mask.rule, mark_BS), key)

  def step(carry, one):
    return add(carry, of(one)), None

  shapes = jax.eval_shape(of, jax.tree.map(lambda a: a[0], xs))
  carry = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
  carry = carry if start is None else start(carry)
  # Without the checkpoint the backward pass would keep every block's weights, and memory would be quadratic again.
  return jax.lax.scan(jax.checkpoint(step, prevent_cse=False), carry, xs)[0]


def in_blocks(k_BSKD, v_BSKD, mask: Mask, block: int):
  """Keys, values and what a Mask says of them, with blocks in front."""
  keys = (k_BSKD, v_BSKD, mask.k, mask.mark_BS)
  return jax.tree.map(lambda a: cutting.stacked(jnp.asarray(a), block), keys)


def _nothing(zeros: Part) -> Part:
  """The part of no keys."""
  return zeros._replace(top_BKGT=zeros.top_BKGT - jnp.inf)


def join(left: Part, right: Part) -> Part:
  """Two disjoint sets of keys as one."""
  top_BKGT = jax.lax.stop_gradient(jnp.maximum(left.top_BKGT, right.top_BKGT))
  factors = [jnp.exp(part.top_BKGT - finite(top_BKGT)) for part in (left, right)]
  sides = list(zip(factors, (left, right), strict=True))
  out_BTKGD: Any = sum(_as_column(factor) * part.out_BTKGD for factor, part in sides)
  return Part(out_BTKGD, top_BKGT, sum(factor * part.sum_BKGT for factor, part in sides))


def divided(part: Part):
  """Output (B, T, K, G, Dv), 0 where nothing is seen, and log-sum-exp (B, K, G, T), there -inf."""
  seen_BKGT = part.sum_BKGT > 0
  safe_BKGT = jnp.where(seen_BKGT, part.sum_BKGT, 1.0)  # a guarded division: 0/0 would poison the gradient
  lse_BKGT = jnp.where(seen_BKGT, finite(part.top_BKGT) + jnp.log(safe_BKGT), -jnp.inf)
  return part.out_BTKGD / _as_column(safe_BKGT), lse_BKGT


def merge(parts) -> tuple[jax.Array, jax.Array]:
  """Joins attention over disjoint sets of keys (blocks, ring shards), each normalized over its own keys.

  parts: at least one pair (o_BTKGD, lse_BKGT); lse = -inf marks a query without keys.
  """
  first, *others = (Part(out_BTKGD, lse_BKGT, 1.0 * (lse_BKGT > -jnp.inf)) for out_BTKGD, lse_BKGT in parts)
  for part in others:
    first = join(first, part)
  return divided(first)


def merge_at(parts_BXbKGD, lse_BXbKG, to_RX, blocks: int):
  """The same for parts that stand in one array: part x goes into the block to_RX[:, x], into none if it is `blocks`.

  Returns output (B, N, size, K, G, D) and log-sum-exp (B, N, size, K, G); where there is no part 0 and -inf.
  """
  at, shape = (jnp.arange(parts_BXbKGD.shape[0])[:, None], to_RX), (lse_BXbKG.shape[0], blocks, *lse_BXbKG.shape[2:])
  top = jnp.full(shape, -jnp.inf, lse_BXbKG.dtype).at[at].max(jax.lax.stop_gradient(lse_BXbKG), mode="drop")
  top = jnp.where(jnp.isfinite(top), top, 0.0)
  share_BXbKG = jnp.exp(lse_BXbKG - top.at[at].get(mode="fill", fill_value=0.0))
  total = jnp.zeros_like(top).at[at].add(share_BXbKG, mode="drop")
  weighed_BXbKGD = share_BXbKG[..., None] * parts_BXbKGD
  out = jnp.zeros((*shape, parts_BXbKGD.shape[-1]), weighed_BXbKGD.dtype).at[at].add(weighed_BXbKGD, mode="drop")
  safe = jnp.where(total > 0, total, 1.0)
  return out / safe[..., None], jnp.where(total > 0, top + jnp.log(safe), -jnp.inf)


def _as_column(a_BKGT):
  return jnp.moveaxis(a_BKGT, -1, 1)[..., None]
