"""Gated feed-forward of Shazeer 2020: y = (silu(x W) * x V) W2, three matrices and no biases."""

import jax
from flax import nnx

from model.linear import Linear, size


class Swiglu(nnx.Module):
  """`hidden` is F, 0 = the multiple of 8 next to 8/3 M, which spends what relu spends at 4 M."""

  def __init__(self, width: int, *, hidden: int = 0):
    hidden = size(hidden, max(8, 8 * round(width / 3)))
    self.gate, self.up = Linear(width, hidden, bias=False), Linear(width, hidden, bias=False)
    self.down = Linear(hidden, width, bias=False, role="out")

  def __call__(self, x_BTM):
    return self.down(jax.nn.silu(self.gate(x_BTM)) * self.up(x_BTM))
