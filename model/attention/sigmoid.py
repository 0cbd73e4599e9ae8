"""Sigmoid attention (Ramapuram et al. 2024): o = sum_s sigmoid(q.k / sqrt(D) + b - log n) v, n = number of keys seen.

Every key is weighed alone: the weights do not compete, and need not add up to one. In the paper n is one number, the
length of the rows (`length`), also where attention is causal; counting what is seen gives every query its own.
"""

import math

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.initial import dial
from model.kernels.softmax import by_blocks, in_blocks, masked, products, read
from model.mask import Mask


class Sigmoid(Mechanism):
  """scale: None = 1/sqrt(D). bias is added to every score; at 0 the weights of scores near 0 add up to about one.

  length: the paper's n, the same for all queries; 0 = the number of keys that a query sees. Under either, padding and
  packing change nothing.
  """

  supports = Supports(merges=False, weights="signed")
  cost_time = "T S D"
  cost_memory = "T S"

  def __init__(
    self,
    heads: int,
    head_dim: int,
    *,
    layer: int = 0,
    scale: float | None = None,
    bias: float = 0.0,
    length: int = 0,
  ):
    super().__init__(heads, head_dim, layer=layer)
    if length < 0:
      raise Refused(f"attention.length={length} is no length of a row; give the paper's n, or 0 for the keys seen")
    self.scale, self.bias = dial(head_dim**-0.5 if scale is None else scale), dial(bias)
    self.length = length

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    score_BKGTS = products((self.scale[...] * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)
    return score_BKGTS + self.scale[...] * inside + self.bias[...]

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    """Output (B, T, K, G, Dv) and no log-sum-exp: parts of the keys add up only when all know how many there are."""
    self.check(scheme, block=block)
    if block is None or block >= k_BSKD.shape[1]:
      out_BTKGD = self._part(q_BTKGD, k_BSKD, v_BSKD, mask, scheme, _seen(mask), key)
    else:
      out_BTKGD = self._by_blocks(q_BTKGD, k_BSKD, v_BSKD, mask, scheme, block, key)
    return out_BTKGD.astype(v_BSKD.dtype), None

  def weights(self, q_BTKGD, k_BSKD, mask, scheme=None):
    """Weights (B, K, G, T, S) between 0 and 1, each by itself; 0 where nothing is seen."""
    self.check(scheme)
    return self._weights(q_BTKGD, k_BSKD, mask, scheme, _seen(mask))

  def _weights(self, q_BTKGD, k_BSKD, mask, scheme, count_BT):
    score_BKGTS, seen_B11TS = masked(self, q_BTKGD, k_BSKD, mask, scheme)
    log_n = math.log(self.length) if self.length else jnp.log(jnp.maximum(count_BT, 1))[:, None, None, :, None]
    return jnp.where(seen_B11TS, jax.nn.sigmoid(score_BKGTS - log_n), 0.0)

  def _part(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, count_BT, key):
    """What the keys given add to the output; count_BT: how many each query sees in all."""
    w_BKGTS = self._weights(q_BTKGD, k_BSKD, mask, scheme, count_BT)
    return read(self.dropped(w_BKGTS, key), v_BSKD, mask, scheme)

  def _by_blocks(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, block, key):
    """Two passes over the keys: how many are seen, then what they add."""
    blocks = in_blocks(k_BSKD, v_BSKD, mask, block)
    count_BT = by_blocks(lambda k, v, mask, _: _seen(mask), jnp.add, blocks, mask)
    part = lambda k, v, mask, key: self._part(q_BTKGD, k, v, mask, scheme, count_BT, key)  # noqa: E731
    return by_blocks(part, jnp.add, blocks, mask, self.key_of_weights(key))


def _seen(mask: Mask):
  """The number of keys that each query sees, (B|1, T)."""
  return mask.tile().sum(-1, dtype=jnp.int32)
