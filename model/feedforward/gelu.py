"""Feed-forward of GPT and BERT (Hendrycks & Gimpel 2016): y = gelu(x W1 + b1) W2 + b2, gelu(h) = h Phi(h)."""

import jax
from flax import nnx

from model.linear import Linear, size


class Gelu(nnx.Module):
  """`hidden` is F, 0 = 4 M; `tanh` takes GPT-2's approximation of Phi in place of the error function."""

  def __init__(self, width: int, *, hidden: int = 0, tanh: bool = False):
    hidden = size(hidden, 4 * width)
    self.up, self.down = Linear(width, hidden), Linear(hidden, width, role="out")
    self.tanh = tanh

  def __call__(self, x_BTM):
    return self.down(jax.nn.gelu(self.up(x_BTM), approximate=self.tanh))
