"""Differential attention (Ye et al. 2024): o = (softmax(q1.k1 / sqrt(D/2)) - lambda softmax(q2.k2 / sqrt(D/2))) v.

lambda = exp(a1.b1) - exp(a2.b2) + init, with init = 0.8 - 0.6 exp(-0.3 layer), shared by the heads of a layer. The
output of each head is divided by its root mean square and multiplied by 1 - init.
"""

import math

import jax
import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.errors import Refused
from model.initial import dial, param
from model.kernels.softmax import attend, products

EPS = 1e-5  # the paper's


class Differential(Mechanism):
  """q1 and k1 are the even features of a head, q2 and k2 the odd ones; both halves look at all of v.

  Positions turn each half as a head of its own, of D/2 features: both meet the same frequencies, as in the paper.
  """

  supports = Supports(inside=False, merges=False, weights="signed")  # a term of q.k would have to be split as q.k is
  cost_time = "T S D"
  cost_memory = "T S"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0):
    super().__init__(heads, head_dim, layer=layer)
    if head_dim % 2:
      raise Refused(f"differential attention halves each head: head_dim={head_dim} is odd; choose an even one")
    half = head_dim // 2
    self.scale = dial(half**-0.5)
    self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * layer)
    # A fan of 100 gives the paper's standard deviation of 0.1.
    self.lambda_q1, self.lambda_k1 = param((half,), "readout", fan_in=100), param((half,), "readout", fan_in=100)
    self.lambda_q2, self.lambda_k2 = param((half,), "readout", fan_in=100), param((half,), "readout", fan_in=100)

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    # With one key both halves lose the same weights, that is, their difference loses them.
    first, second = (attend(self, q, k, v_BSKD, mask, scheme, block, key)[0] for q, k in _halves(q_BTKGD, k_BSKD))
    wide = jnp.promote_types(v_BSKD.dtype, jnp.float32)
    out_BTKGD = first.astype(wide) - self.factor() * second.astype(wide)
    square_BTKG1 = jnp.square(out_BTKGD).mean(-1, keepdims=True)
    return ((1 - self.lambda_init) * jax.lax.rsqrt(square_BTKG1 + EPS) * out_BTKGD).astype(v_BSKD.dtype), None

  def turn(self, x_BTHD, positions, scheme):
    if not scheme.acts("rotate"):
      return x_BTHD
    halves_BTHF = [scheme.rotate(x_BTHD[..., half::2], positions) for half in (0, 1)]
    return jnp.stack(halves_BTHF, -1).reshape(x_BTHD.shape)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    """Of one half."""
    return products((self.scale[...] * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)

  def factor(self):
    """What the second distribution is multiplied by: lambda."""
    first = jnp.exp(jnp.sum(self.lambda_q1[...] * self.lambda_k1[...]))
    return first - jnp.exp(jnp.sum(self.lambda_q2[...] * self.lambda_k2[...])) + self.lambda_init

  def weights(self, q_BTKGD, k_BSKD, mask, scheme=None):
    """The difference of the two distributions, (B, K, G, T, S), which the output is taken from before its norm."""
    first, second = (super(Differential, self).weights(q, k, mask, scheme) for q, k in _halves(q_BTKGD, k_BSKD))
    return first - self.factor() * second

  def check(self, scheme=None, rule=None, block=None):
    super().check(scheme, rule, block)
    if scheme is not None and scheme.acts("rotate") and self.head_dim % 4:
      raise Refused(
        f"differential attention turns each half of a head: head_dim={self.head_dim} is not a multiple of 4; "
        "choose one that is, or positions that do not rotate"
      )


def _halves(q_BTKGD, k_BSKD):
  return [(q_BTKGD[..., half::2], k_BSKD[..., half::2]) for half in (0, 1)]
