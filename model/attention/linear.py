"""Linear attention (Katharopoulos et al. 2020): o = f(q) sum f(k) v^T / f(q) sum f(k), with f(x) = elu(x) + 1."""

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.kernels import prefix


class Linear(Mechanism):
  """The weight of a key is f(q).f(k), so its sums are kept in place of the keys. chunk: tokens worked on at a time."""

  supports = Supports(
    rules=False, rotate=False, inside=False, after=False, values=False, blockwise=False, dropout=False, state=True
  )  # no term fits into f(q).f(k), and f does not keep angles
  cost_time = "T (chunk + D) D"
  cost_memory = "T (chunk + D)"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, chunk: int = 64):
    super().__init__(heads, head_dim, layer=layer)
    if chunk < 1:
      raise Refused(f"linear attention: chunk={chunk} holds no token; give 1 or more, such as 64")
    self.chunk = chunk

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    self.check(scheme, mask.rule, block)
    return prefix.attend(_features, q_BTKGD, k_BSKD, v_BSKD, mask, self.chunk)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    """The number log f(q).f(k); the softmax of these are the weights."""
    return prefix.log_kernel(_features, q_BTKGD, k_BSKD)

  def start(self, batch, kv_heads, value_dim, dtype):
    return prefix.start(batch, kv_heads, self.head_dim, value_dim, dtype)

  def advance(self, state, q_BTKGD, k_BSKD, v_BSKD, mask):
    return prefix.advance(_features, state, q_BTKGD, k_BSKD, v_BSKD, mask, self.chunk)


def _features(x) -> prefix.Features:
  """The map elu(x) + 1; the largest feature of a vector far below zero is kept at 1, or all would be rounded to 0."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  scale = jax.lax.stop_gradient(jnp.minimum(x.max(-1), 0.0))
  low = jnp.exp(jnp.where(x > 0, 0.0, x) - scale[..., None])
  return prefix.Features(jnp.where(x > 0, x + 1.0, low), scale)
