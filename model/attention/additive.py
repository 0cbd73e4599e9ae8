"""Additive attention (Bahdanau et al. 2015): score = gain * v . tanh(q + k + b), with q and k already projected."""

import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.initial import dial, param


class Additive(Mechanism):
  """One hidden layer of D units per head on the sum of query and key; gain 1 is the paper's."""

  supports = Supports(inside=False, rotate=False)  # tanh(q + k) does not see the angle between q and k alone
  cost_time = "T S D"
  cost_memory = "T S D"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, gain: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.gain = dial(gain)
    self.readout = param((heads, head_dim), "readout", fan_in=head_dim, fan_out=1)
    self.bias = param((heads, head_dim), "bias")

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    _, _, K, G, D = q_BTKGD.shape
    wide = jnp.promote_types(q_BTKGD.dtype, jnp.float32)
    q_BKGTD = jnp.moveaxis(q_BTKGD.astype(wide) + self.bias[...].reshape(K, G, D), 1, 3)
    k_BKSD = jnp.moveaxis(k_BSKD.astype(wide), 1, 2)
    hidden_BKGTSD = jnp.tanh(q_BKGTD[:, :, :, :, None] + k_BKSD[:, :, None, None])
    readout_KGD = self.gain[...] * self.readout[...].reshape(K, G, D)
    return jnp.einsum("bkgtsd,kgd->bkgts", hidden_BKGTSD, readout_KGD)
