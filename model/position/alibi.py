"""ALiBi (Press et al. 2022): score - m_h |t - s|, with slopes m_h = 2^(-8h/H) for heads h = 1..H, nothing trained."""

import math

import jax.numpy as jnp
import numpy as np

from model.errors import Refused
from model.position.scheme import Position, ahead


class Alibi(Position):
  """A penalty linear in distance. Keys ahead of the query cost `ahead` times as much: with 1 left and right look alike.

  Causal attention never meets them. A number of heads that is no power of two takes every second slope of the next
  power for those that are missing, as the authors do.
  """

  cost_time = "T S"
  cost_memory = "H T S"

  def __init__(self, width: int, heads: int, head_dim: int, *, ahead: float = 0.5):
    if not 0 <= ahead < math.inf:
      raise Refused(f"position.ahead={ahead} must be a finite number from 0 up; 1 makes left and right alike")
    self.heads, self.ahead = int(heads), float(ahead)

  def after(self, q_positions, k_positions):
    ahead_BTS = ahead(q_positions, k_positions)
    cost_BTS = jnp.where(ahead_BTS > 0, self.ahead * ahead_BTS, -ahead_BTS).astype(jnp.float32)
    return -slopes(self.heads)[None, :, None, None] * cost_BTS[:, None]


def slopes(heads: int) -> np.ndarray:
  """One slope per head, (H,), float32, largest first within the whole power of two."""
  whole = 2 ** int(math.log2(heads))
  first = [2.0 ** (-8.0 * h / whole) for h in range(1, whole + 1)]
  between = [2.0 ** (-8.0 * h / (2 * whole)) for h in range(1, 2 * whole, 2)]
  return np.array((first + between)[:heads], np.float32)
