"""Cho et al. 2014, as cuDNN and PyTorch have it, the reset after the product: h_t = u h_{t-1} + (1 - u) n.

r = sigmoid(W_r x + R_r h + b_r), u = sigmoid(W_u x + R_u h + b_u), n = tanh(W_n x + b_n + r (R_n h + b)).
"""

import jax
import jax.numpy as jnp

from model.cell.cell import Cell, fused, keeping, recurrent, times
from model.initial import param


class Gru(Cell):
  """Gates in the order reset, update, new. chrono: as in lstm, on the update gate; 0 = its bias starts at 0."""

  gates = 3

  def __init__(self, width: int, hidden: int, *, chrono: int = 0):
    super().__init__(width, hidden)
    self.recurrent = recurrent(self.gates, hidden)
    self.recurrent_bias = param((hidden,), "bias")
    self.chrono = chrono
    keeping(hidden, 0.0, chrono)  # refuses what is no lag

  def step(self, dtype):
    kernel_HZ = fused(self.recurrent[...]).astype(dtype)
    reset_H, update_H, new_H = self.bias[...]
    update_H += keeping(self.hidden, 0.0, self.chrono)
    recurrent_H = self.recurrent_bias[...]

    def step(state, z_B):
      r_BH, u_BH, n_BH = jnp.split(times(state["h"], kernel_HZ), 3, -1)
      r_BH = jax.nn.sigmoid(z_B[0] + r_BH + reset_H)
      u_BH = jax.nn.sigmoid(z_B[1] + u_BH + update_H)
      n_BH = jnp.tanh(z_B[2] + new_H + r_BH * (n_BH + recurrent_H))
      return {"h": (n_BH + u_BH * (state["h"] - n_BH)).astype(dtype)}

    return step
