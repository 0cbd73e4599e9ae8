"""Elman 1990, with an orthogonal start as in Le et al. 2015: h_t = tanh(W x_t + R h_{t-1} + b)."""

import jax.numpy as jnp

from model.cell.cell import Cell, fused, recurrent, times


class Tanh(Cell):
  """The simple recurrent network; what it remembers shrinks with every step unless tanh stays near its middle."""

  def __init__(self, width: int, hidden: int):
    super().__init__(width, hidden)
    self.recurrent = recurrent(self.gates, hidden)

  def step(self, dtype):
    kernel_HZ, bias_H = fused(self.recurrent[...]).astype(dtype), self.bias[...][0]

    def step(state, z_B):
      return {"h": jnp.tanh(z_B[0] + times(state["h"], kernel_HZ) + bias_H).astype(dtype)}

    return step
