"""Talking heads (Shazeer et al. 2020): w_h = sum_g softmax(sum_f q_f.k_f / sqrt(D) P_fg) W_gh, heads mixed before and
after the softmax: a head's weights are made of all heads' scores.
"""

import jax.numpy as jnp

from model.attention.mechanism import Mechanism, Supports
from model.initial import param
from model.kernels.softmax import products, read


class Talking(Mechanism):
  """Two trained H by H matrices, drawn like any other as in the authors' code: `before` mixes scores, `after` weights.

  Terms inside q.k are mixed with it; terms added to the score come behind the first mixture, as in the authors' code,
  so that a head of the softmax keeps a bias of its own.
  """

  supports = Supports(blockwise=False, merges=False, weights="signed")
  cost_time = "T S (D + H)"
  cost_memory = "T S"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0):
    super().__init__(heads, head_dim, layer=layer)
    self.before = param((heads, heads), "kernel")
    self.after = param((heads, heads), "kernel")

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return _mixed((products(q_BTKGD, k_BSKD) + inside) * self.head_dim**-0.5, self.before[...])

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    """Output (B, T, K, G, Dv) and no log-sum-exp: there is one per head before the heads are mixed again."""
    self.check(scheme, block=block)
    w_BKGTS = self.weights(q_BTKGD, k_BSKD, mask, scheme)
    return read(self.dropped(w_BKGTS, key), v_BSKD, mask, scheme).astype(v_BSKD.dtype), None

  def weights(self, q_BTKGD, k_BSKD, mask, scheme=None):
    """Weights after both mixtures, (B, K, G, T, S): 0 where nothing is seen, else of either sign and of any sum."""
    return _mixed(super().weights(q_BTKGD, k_BSKD, mask, scheme), self.after[...])


def _mixed(a_BKGTS, matrix_HH):
  """Head h of the result is the sum over heads g of a_g matrix[g, h]."""
  a_BHTS = a_BKGTS.reshape(a_BKGTS.shape[0], -1, *a_BKGTS.shape[3:])
  return jnp.einsum("bgts,gh->bhts", a_BHTS, matrix_HH.astype(a_BKGTS.dtype)).reshape(a_BKGTS.shape)
