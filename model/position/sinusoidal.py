"""Vaswani et al. 2017, §3.5: PE(p, 2i) = sin(p / base^(2i/M)), PE(p, 2i+1) = cos(same), added to the input."""

import jax.numpy as jnp

from model.errors import Refused
from model.position.scheme import Position


def waves(pos_BT, width: int, base: float = 10000.0):
  """The sinusoids of positions, (B, T, width), float32, for any position."""
  even_F = jnp.arange(0, width, 2, dtype=jnp.float32)
  angle_BTF = jnp.asarray(pos_BT, jnp.float32)[..., None] * jnp.exp(-jnp.log(base) / width * even_F)
  both_BTF2 = jnp.stack([jnp.sin(angle_BTF), jnp.cos(angle_BTF)], -1)
  return both_BTF2.reshape(*angle_BTF.shape[:-1], -1)[..., :width]


class Sinusoidal(Position):
  """Fixed sinusoids of geometrically growing period, added to the embeddings."""

  cost_time = "T M"
  cost_memory = "T M"

  def __init__(self, width: int, heads: int, head_dim: int, *, base: float = 10000.0):
    if base <= 1:
      raise Refused(f"position.base={base} must exceed 1; the paper takes 10000")
    self.base = float(base)

  def embed(self, x_BTM, positions):
    return x_BTM + waves(positions.pos_BT, x_BTM.shape[-1], self.base).astype(x_BTM.dtype)
