"""Feed-forward without its non-linearity: y = (x W1 + b1) W2 + b2, the ablation of Vaswani et al. 2017's ReLU."""

from flax import nnx

from model.linear import Linear, size


class Identity(nnx.Module):
  """Two matrices with nothing between them; `hidden` is F, 0 = 4 M."""

  def __init__(self, width: int, *, hidden: int = 0):
    hidden = size(hidden, 4 * width)
    self.up, self.down = Linear(width, hidden), Linear(hidden, width, role="out")

  def __call__(self, x_BTM):
    return self.down(self.up(x_BTM))
