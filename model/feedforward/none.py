"""No feed-forward sublayer: attention alone (Dong et al. 2021 study such stacks)."""

from flax import nnx


class None_(nnx.Module):  # noqa: N801
  """Nothing at all: the block leaves the sublayer out, with its norm and its residual."""

  absent = True

  def __init__(self, width: int):
    del width

  def __call__(self, x_BTM):
    return x_BTM * 0
