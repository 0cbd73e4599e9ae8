"""What a position scheme may do: change the input, turn q and k, add to q.k, add to the score, add to the output."""

import jax.numpy as jnp
from flax import nnx


class Position(nnx.Module):
  """Identity everywhere; a scheme overrides the places it acts on.

  Hooks work on tiles: q_where and k_where describe just the queries and keys at hand, so dense, blockwise and cached
  attention call the same code. A scheme reads positions only through them.
  """

  def __init__(self, width: int, heads: int, head_dim: int):
    pass

  def another(self, make):
    """The scheme of a further layer of the stack: this one, unless each layer has parameters of its own.

    make() builds a scheme like this one; layer 0 keeps the first.
    """
    return self

  def embed(self, x_BTM, where):
    """Token embeddings with position, (B, T, M); called once, below the first layer."""
    return x_BTM

  def rotate(self, x_BTHD, where):
    """Queries or keys turned by their position, (B, T, H, D); norms are kept.

    D is the array's own: a mechanism whose heads are made of smaller ones has each of these turned by itself.
    """
    return x_BTHD

  def inside(self, q_BTKGD, k_BSKD, q_where, k_where):
    """Term added to q.k before the scale, broadcasting to (B, K, G, T, S)."""
    return 0.0

  def after(self, q_where, k_where):
    """Term added to the scaled score, (B|1, H|1, T, S)."""
    return 0.0

  def values(self, w_BKGTS, q_where, k_where):
    """Term added to the output, linear in the weights, (B, T, K, G, Dv)."""
    return 0.0

  @classmethod
  def acts(cls, hook: str) -> bool:
    """True if the scheme overrides this hook."""
    return getattr(cls, hook) is not getattr(Position, hook)


def ahead(q_where, k_where):
  """How far each key stands after each query, in positions, (B|1, T, S)."""
  return jnp.asarray(k_where.pos_BT)[:, None, :] - jnp.asarray(q_where.pos_BT)[:, :, None]
