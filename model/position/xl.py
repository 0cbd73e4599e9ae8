"""Transformer-XL's relative positions (Dai et al. 2019): score = ((q + u) . k + (q + v) . W_R r[t - s]) / sqrt(D).

r[d] is the sinusoid of distance d (Vaswani et al. 2017); u and v take the place of the absolute query position. With
model.segment and model.memory the keys may be those of earlier stretches: only distances count.
"""

import jax.numpy as jnp

from model.errors import Refused
from model.initial import param
from model.position.scheme import Position, ahead


class Xl(Position):
  """W_R, u and v are each layer's own, or with `shared` the same in all.

  The paper indexes W_R by layer and writes u and v without one; the models published with it untie these, too.
  Distances beyond `reach`, before or behind, count as `reach`.
  """

  cost_time = "T S D"
  cost_memory = "H T (S + reach)"

  def __init__(self, width: int, heads: int, head_dim: int, *, reach: int = 128, shared: bool = False):
    if reach < 1:
      raise Refused(f"position.reach={reach} tells no distances apart; give the longest that counts, at least 1")
    self.width, self.reach, self.shared = width, int(reach), bool(shared)
    self.kernel = param((width, heads, head_dim), "kernel", fan_in=width, fan_out=heads * head_dim)
    self.content = param((heads, head_dim), "bias")
    self.distance = param((heads, head_dim), "bias")

  def another(self, make):
    return self if self.shared else make()

  def inside(self, q_BTKGD, k_BSKD, q_positions, k_positions):
    _, _, K, G, D = q_BTKGD.shape
    dtype, wide = q_BTKGD.dtype, jnp.promote_types(q_BTKGD.dtype, jnp.float32)
    content_KGD, distance_KGD = (a[...].reshape(K, G, D).astype(dtype) for a in (self.content, self.distance))
    kernel_MKGD = self.kernel[...].reshape(-1, K, G, D)
    r_RKGD = jnp.einsum("rm,mkgd->rkgd", self._sinusoids(), kernel_MKGD).astype(dtype)
    # One product per distance, then each pair looks its own up: never an array of T by S by D.
    term_BKGTR = jnp.einsum("btkgd,rkgd->bkgtr", q_BTKGD + distance_KGD, r_RKGD, preferred_element_type=wide)
    index_BTS = jnp.clip(-ahead(q_positions, k_positions), -self.reach, self.reach) + self.reach
    index_BKGTS = jnp.broadcast_to(index_BTS[:, None, None], (*term_BKGTR.shape[:4], index_BTS.shape[-1]))
    by_content_BKGS = jnp.einsum("kgd,bskd->bkgs", content_KGD, k_BSKD, preferred_element_type=wide)
    return by_content_BKGS[..., None, :] + jnp.take_along_axis(term_BKGTR, index_BKGTS, -1)

  def _sinusoids(self):
    """Sines, then cosines, of the distances -reach..reach, (R, M)."""
    pace_F = 10000.0 ** (-jnp.arange(0, self.width, 2, dtype=jnp.float32) / self.width)
    angle_RF = jnp.arange(-self.reach, self.reach + 1, dtype=jnp.float32)[:, None] * pace_F
    return jnp.concatenate([jnp.sin(angle_RF), jnp.cos(angle_RF)], -1)[:, : self.width]
