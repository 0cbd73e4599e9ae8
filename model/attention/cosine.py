"""Cosine attention with a learned temperature (Henry et al. 2020; Liu et al. 2022): score = scale * g * cos(q, k)."""

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.initial import dial, param
from model.kernels.softmax import products

SHORT = 1e-2  # length below which a vector is not brought to 1 but divided by this: so a zero has cosine 0 with all


class Cosine(Mechanism):
  """Scores lie in [-scale * g, scale * g]; g is one trained number per head and starts at 1."""

  supports = Supports(inside=False)
  cost_time = "T S D"
  cost_memory = "T S"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float = 10.0):
    super().__init__(heads, head_dim, layer=layer)
    self.scale = dial(scale)
    self.factor = param((heads,), "gain")

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    K, G = q_BTKGD.shape[2:4]
    scale_KG1 = (self.scale[...] * self.factor[...]).reshape(K, G, 1)
    unit_BTKGD = (scale_KG1 * _unit(q_BTKGD)).astype(q_BTKGD.dtype)
    return products(unit_BTKGD, _unit(k_BSKD).astype(k_BSKD.dtype))


def _unit(x):
  """Vectors of length 1, or shorter where they are next to nothing: near zero the slope would be 1 over the length."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), SHORT**2))
