"""An affine map with readable leaves: y = x W + b."""

import jax.numpy as jnp
from flax import nnx

from model import initial
from model.errors import Refused


class Linear(nnx.Module):
  """W of shape (inputs, outputs), b of shape (outputs,) unless `bias` is False.

  role: "out" for the last matrix of a sublayer, which init.out_gain scales.
  """

  def __init__(self, inputs: int, outputs: int, *, bias: bool = True, role: str = "kernel"):
    self.kernel = initial.param((inputs, outputs), role, inputs, outputs)
    self.bias = initial.param((outputs,), "bias", inputs, outputs) if bias else None

  def __call__(self, x, dtype=None):
    """The map on the last axis, computed in the dtype of x; `dtype` is the dtype of the result (default: x's)."""
    y = jnp.matmul(x, self.kernel[...].astype(x.dtype), preferred_element_type=dtype or x.dtype)
    return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def size(hidden: int, default: int) -> int:
  """The hidden size F of a feed-forward sublayer; 0 asks for the default."""
  if hidden < 0:
    raise Refused(f"feedforward.hidden={hidden} is negative; give a positive size, or 0 for {default}")
  return hidden or default
