"""Performer, FAVOR+ (Choromanski et al. 2021): exp(q.k) = E f(q).f(k), with f(x) = exp(w.x - |x|^2/2) / sqrt(m).

The m directions w are standard normal; orthogonal ones have a smaller error. x = q / D^(1/4) and k / D^(1/4), so that
the expectation is the softmax kernel exp(q.k / sqrt(D)); the error falls as 1 / sqrt(m).
"""

import functools
import math

import jax
import jax.numpy as jnp

from model import initial
from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.kernels import prefix


class Performer(Mechanism):
  """features: m, 0 = D log D. redraw: training steps between two draws of the directions, 0 = one draw for ever.

  orthogonal: directions in blocks of D at right angles, with the lengths of independent normal vectors. All heads of
  a layer share the directions. chunk: tokens worked on at a time.
  """

  supports = Supports(rules=False, inside=False, after=False, values=False, blockwise=False, dropout=False, state=True)
  cost_time = "T (chunk + D) features"
  cost_memory = "T (chunk + features)"

  def __init__(
    self,
    heads: int,
    head_dim: int,
    *,
    layer: int = 0,
    features: int = 64,
    orthogonal: bool = True,
    redraw: int = 0,
    chunk: int = 64,
  ):
    super().__init__(heads, head_dim, layer=layer)
    for name, value, least, hint in (
      ("features", features, 0, "0 for D log D"),
      ("redraw", redraw, 0, "0 for never"),
      ("chunk", chunk, 1, "64"),
    ):
      if value < least:
        raise Refused(f"performer attention: {name}={value} is below {least}; give {least} or more, such as {hint}")
    self.features = features or max(1, round(head_dim * math.log(head_dim)))
    self.orthogonal, self.redraw, self.chunk = orthogonal, redraw, chunk
    self.seed = initial.seed()

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    self.check(scheme, mask.rule, block)
    return prefix.attend(self._features(), q_BTKGD, k_BSKD, v_BSKD, mask, self.chunk)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    """The number log f(q).f(k), whose exponential has the mean exp(q.k / sqrt(D)) over all draws."""
    return prefix.log_kernel(self._features(), q_BTKGD, k_BSKD)

  def start(self, batch, kv_heads, value_dim, dtype):
    return prefix.start(batch, kv_heads, self.features, value_dim, dtype)

  def advance(self, state, q_BTKGD, k_BSKD, v_BSKD, mask):
    return prefix.advance(self._features(), state, q_BTKGD, k_BSKD, v_BSKD, mask, self.chunk)

  def _features(self):
    """The map of the directions in force, which are drawn once for queries and keys."""
    return functools.partial(_positive, self.directions())

  def directions(self):
    """The directions in force, (m, D)."""
    key = initial.key_of(self.seed, self.redraw)
    if not self.orthogonal:
      return jax.random.normal(key, (self.features, self.head_dim), jnp.float32)
    blocks = -(-self.features // self.head_dim)
    drawn_X = jax.random.normal(key, (blocks * self.head_dim**2,), jnp.float32)  # flat, it compiles faster
    turned_NDF, triangle_NFF = jnp.linalg.qr(drawn_X.reshape(blocks, self.head_dim, self.head_dim))
    # Lengths depend on the triangle alone, so they are independent of the directions; signs undo a bias of the method.
    length_NF = jnp.linalg.norm(triangle_NFF, axis=1) * jnp.sign(jnp.diagonal(triangle_NFF, axis1=1, axis2=2))
    return jnp.moveaxis(turned_NDF * length_NF[:, None], 2, 1).reshape(-1, self.head_dim)[: self.features]


def _positive(w_FD, x) -> prefix.Features:
  """Positive random features of vectors (..., D); the largest of each vector is 1, the rest of it is in the scale."""
  wide = jnp.promote_types(x.dtype, jnp.float32)
  x = x.astype(wide) * x.shape[-1] ** -0.25
  power = jnp.einsum("...d,fd->...f", x, w_FD.astype(wide)) - jnp.square(x).sum(-1, keepdims=True) / 2
  top = jax.lax.stop_gradient(power.max(-1))
  return prefix.Features(jnp.exp(power - top[..., None]), top - math.log(w_FD.shape[0]) / 2)
