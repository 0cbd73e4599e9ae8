"""Sigmoid attention (Ramapuram et al. 2024): o = sum_s sigmoid(q.k / sqrt(D) + b - log n) v, n = number of keys seen.

Every key is weighed alone: the weights do not compete, and need not add up to one. In the paper n is the length of the
row; counting what is seen makes padding and packing change nothing.
"""

import functools

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports, cut, masked, mix, products
from model.initial import dial
from model.see import See


class Sigmoid(Mechanism):
  """scale: None = 1/sqrt(D). bias is added to every score; at 0 the weights of scores near 0 add up to about one."""

  supports = Supports(merges=False, weights="signed")
  cost_time = "T S D"
  cost_memory = "T S"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float | None = None, bias: float = 0.0):
    super().__init__(heads, head_dim, layer=layer)
    self.scale, self.bias = dial(head_dim**-0.5 if scale is None else scale), dial(bias)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    score_BKGTS = products((self.scale[...] * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)
    return score_BKGTS + self.scale[...] * inside + self.bias[...]

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, see, position=None, *, block=None, key=None):
    """Output (B, T, K, G, Dv) and no log-sum-exp: parts of the keys add up only when all know how many there are."""
    self.admit(position, block=block)
    block = min(block or k_BSKD.shape[1], k_BSKD.shape[1])
    blocks = cut((k_BSKD, v_BSKD, see.k, see.mark_BS), block)

    def among(one) -> See:
      return See(see.q, one[2], see.rule, one[3])

    def count(total_BT, one):
      return total_BT + among(one).tile().sum(-1), None

    nothing_BT = jnp.zeros((max(len(see.q.pos_BT), len(see.k.pos_BT)), q_BTKGD.shape[1]), jnp.int32)
    count_BT, _ = jax.lax.scan(count, nothing_BT, blocks)
    add = functools.partial(self._part, q_BTKGD, position, jnp.log(jnp.maximum(count_BT, 1)))
    shape = jax.eval_shape(lambda one: add(one[0], one[1], among(one)), jax.tree.map(lambda a: a[0], blocks))
    step = jax.checkpoint(lambda total, one: (total + add(one[0], one[1], among(one)), None), prevent_cse=False)
    out_BTKGD, _ = jax.lax.scan(step, jnp.zeros(shape.shape, shape.dtype), blocks)
    return out_BTKGD.astype(v_BSKD.dtype), None

  def weights(self, q_BTKGD, k_BSKD, see, position=None):
    self.admit(position)
    count_BT = see.tile().sum(-1)
    return self._weights(q_BTKGD, k_BSKD, see, position, jnp.log(jnp.maximum(count_BT, 1)))

  def _weights(self, q_BTKGD, k_BSKD, see, position, log_count_BT):
    score_BKGTS, seen_B11TS = masked(self, q_BTKGD, k_BSKD, see, position)
    w_BKGTS = jax.nn.sigmoid(score_BKGTS - log_count_BT[:, None, None, :, None])
    return jnp.where(seen_B11TS, w_BKGTS, 0.0)

  def _part(self, q_BTKGD, position, log_count_BT, k_BSKD, v_BSKD, see):
    """What some of the keys add to the output."""
    w_BKGTS = self._weights(q_BTKGD, k_BSKD, see, position, log_count_BT)
    out_BTKGD = mix(w_BKGTS, v_BSKD)
    if position is not None and position.acts("values"):
      out_BTKGD += position.values(w_BKGTS, see.q, see.k)
    return out_BTKGD
