"""Relative positions in keys and values (Shaw et al. 2018): score = q . (k + a_K[d]) / sqrt(D), output = sum_s w (v +
a_V[d]), where d = s - t is clipped to -clip..clip.
"""

import jax
import jax.numpy as jnp

from model.errors import Refused
from model.initial import param
from model.position.scheme import Position, ahead


class Shaw(Position):
  """Two tables of 2 clip + 1 vectors for all heads; each layer has its own, or with `shared` all layers the same."""

  cost_time = "T S D"
  cost_memory = "T S (clip + H)"

  def __init__(self, width: int, heads: int, head_dim: int, *, clip: int = 16, shared: bool = False):
    if clip < 1:
      raise Refused(f"position.clip={clip} tells no distances apart; give at least 1")
    self.clip, self.shared = int(clip), bool(shared)
    shape = (2 * self.clip + 1, head_dim)
    self.key = param(shape, "kernel", fan_in=head_dim, fan_out=head_dim)
    self.value = param(shape, "kernel", fan_in=head_dim, fan_out=head_dim)

  def another(self, make):
    return self if self.shared else make()

  def inside(self, q_BTKGD, k_BSKD, q_positions, k_positions):
    # One product per distance, then each pair looks its own up: never an array of T by S by D.
    wide = jnp.promote_types(q_BTKGD.dtype, jnp.float32)
    term_BKGTR = jnp.einsum(
      "btkgd,rd->bkgtr", q_BTKGD, self.key[...].astype(q_BTKGD.dtype), preferred_element_type=wide
    )
    index_BTS = self._index(q_positions, k_positions)
    index_BKGTS = jnp.broadcast_to(index_BTS[:, None, None], (*term_BKGTR.shape[:4], index_BTS.shape[-1]))
    return jnp.take_along_axis(term_BKGTR, index_BKGTS, -1)

  def values(self, w_BKGTS, q_positions, k_positions):
    share_BTSR = jax.nn.one_hot(self._index(q_positions, k_positions), 2 * self.clip + 1, dtype=w_BKGTS.dtype)
    share_BTSR = jnp.broadcast_to(share_BTSR, (w_BKGTS.shape[0], *share_BTSR.shape[1:]))
    w_BKGTR = jnp.einsum("bkgts,btsr->bkgtr", w_BKGTS, share_BTSR)
    return jnp.einsum("bkgtr,rd->btkgd", w_BKGTR, self.value[...].astype(w_BKGTS.dtype))

  def _index(self, q_positions, k_positions):
    return jnp.clip(ahead(q_positions, k_positions), -self.clip, self.clip) + self.clip
