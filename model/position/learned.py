"""Gehring et al. 2017, Devlin et al. 2019: one trained vector per position, added to the input; x_p + E[p]."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from model.errors import Refused
from model.initial import param
from model.position.scheme import Position


class Learned(Position):
  """A table of `length` vectors. A position beyond it is refused when known, NaN when traced; it is never clamped."""

  cost_time = "T M"
  cost_memory = "length M"

  def __init__(self, width: int, heads: int, head_dim: int, *, length: int = 512):
    if length < 1:
      raise Refused(f"position.length={length} holds no position; give at least 1")
    self.length = int(length)
    self.table = param((self.length, width), "position")

  def embed(self, x_BTM, positions):
    pos_BT = positions.pos_BT
    if not isinstance(pos_BT, Tracer):
      lowest, highest = int(np.min(pos_BT)), int(np.max(pos_BT))
      if lowest < 0 or highest >= self.length:
        bad = lowest if lowest < 0 else highest
        raise Refused(f"position {bad} lies outside the learned table 0..{self.length - 1}; raise position.length")
    pos_BT = jnp.asarray(pos_BT)
    # Negative indices would count from the end: send them out of the table as well.
    pos_BT = jnp.where(pos_BT < 0, self.length, pos_BT)
    return x_BTM + self.table[...].at[pos_BT].get(mode="fill", fill_value=jnp.nan).astype(x_BTM.dtype)
