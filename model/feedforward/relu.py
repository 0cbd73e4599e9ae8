"""Position-wise feed-forward of Vaswani et al. 2017: y = max(0, x W1 + b1) W2 + b2."""

import jax
from flax import nnx

from model.linear import Linear, size


class Relu(nnx.Module):
  """`hidden` is F, 0 = 4 M."""

  def __init__(self, width: int, *, hidden: int = 0):
    hidden = size(hidden, 4 * width)
    self.up, self.down = Linear(width, hidden), Linear(hidden, width, role="out")

  def __call__(self, x_BTM):
    return self.down(jax.nn.relu(self.up(x_BTM)))
