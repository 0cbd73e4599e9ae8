"""What a position scheme may do: change the input, turn q and k, add to q.k, add to the score, add to the output."""

import jax.numpy as jnp
from flax import nnx


class Position(nnx.Module):
  """Identity everywhere; a scheme overrides the places it acts on.

  Hooks work on tiles: q_positions and k_positions are those of the queries and keys at hand, so dense, blockwise and
  cached attention call the same code. A scheme reads positions only through them.
  """

  def __init__(self, width: int, heads: int, head_dim: int):
    pass

  def another(self, make):
    """The scheme of a further layer of the stack: this one, unless each layer has parameters of its own.

    make() builds a scheme like this one; layer 0 keeps the first.
    """
    return self

  def embed(self, x_BTM, positions):
    """Token embeddings with position, (B, T, M); called once, below the first layer."""
    return x_BTM

  def rotate(self, x_BTHD, positions):
    """Queries or keys turned by their position, (B, T, H, D); norms are kept.

    D is the array's own: a mechanism whose heads are made of smaller ones has each of these turned by itself.
    """
    return x_BTHD

  def inside(self, q_BTKGD, k_BSKD, q_positions, k_positions):
    """Term added to q.k before the scale, broadcasting to (B, K, G, T, S)."""
    return 0.0

  def after(self, q_positions, k_positions):
    """Term added to the scaled score, (B|1, H|1, T, S)."""
    return 0.0

  def values(self, w_BKGTS, q_positions, k_positions):
    """Term added to the output, linear in the weights, (B, T, K, G, Dv)."""
    return 0.0

  @classmethod
  def acts(cls, hook: str) -> bool:
    """True if the scheme overrides this hook."""
    return getattr(cls, hook) is not getattr(Position, hook)


def ahead(q_positions, k_positions):
  """How far each key stands after each query, in positions, (B|1, T, S)."""
  return jnp.asarray(k_positions.pos_BT)[:, None, :] - jnp.asarray(q_positions.pos_BT)[:, :, None]
