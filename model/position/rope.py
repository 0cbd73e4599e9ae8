"""Rotary positions (Su et al. 2021): (R_p q) . (R_s k) = q . R_(s - p) k, so that only distances count.

R_p turns the plane of features i and i + D/2 by the angle p / base^(2i/D).
"""

import jax.numpy as jnp

from model.errors import Refused
from model.position.scheme import Position


class Rope(Position):
  """The paper pairs neighbouring features; here feature i goes with i + D/2, a fixed permutation of them."""

  cost_time = "T M"
  cost_memory = "T M"

  def __init__(self, width: int, heads: int, head_dim: int, *, base: float = 10000.0):
    if head_dim % 2:
      raise Refused(f"rope positions turn pairs of features: head_dim={head_dim} is odd; choose an even one")
    if base <= 1:
      raise Refused(f"position.base={base} must exceed 1; the paper takes 10000")
    self.base = float(base)

  def rotate(self, x_BTHD, positions):
    half = x_BTHD.shape[-1] // 2
    pace_F = jnp.exp(-jnp.log(self.base) / half * jnp.arange(half, dtype=jnp.float32))
    angle_BT1F = jnp.asarray(positions.pos_BT, jnp.float32)[..., None, None] * pace_F
    cos_BT1F, sin_BT1F = jnp.cos(angle_BT1F), jnp.sin(angle_BT1F)
    wide_BTHD = x_BTHD.astype(jnp.promote_types(x_BTHD.dtype, jnp.float32))
    a_BTHF, b_BTHF = wide_BTHD[..., :half], wide_BTHD[..., half:]
    turned = (a_BTHF * cos_BT1F - b_BTHF * sin_BT1F, b_BTHF * cos_BT1F + a_BTHF * sin_BT1F)
    return jnp.concatenate(turned, -1).astype(x_BTHD.dtype)
