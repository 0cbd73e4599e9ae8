"""Exact checks of one matrix for queries and keys: s_ij = x_i W W^T x_j is symmetric, and s_ii = |x_i W|^2."""

import numpy as np

from experiments.claims.grid import Samples, attend, attention, call, cases, kernel


def shared() -> Samples:
  """QK-4: largest difference between a score and its mirror image, as a share of the largest score; weight on itself.

  The weight is the mean over tokens and heads, times the number of tokens (1 = an even share), without positions.
  """
  samples = Samples()
  for case in cases(lambda shape: attention(shape, tie="qk"), attention):
    tied, free = case.modules
    weights_HTT = call(attend, tied, case.x_BTM)[1][0]
    samples.add(
      asymmetry=_asymmetry(_scores(tied, "query", case.x_BTM[0])),
      asymmetry_of_separate=_asymmetry(_scores(free, "key", case.x_BTM[0])),
      weight_on_itself=np.einsum("...tt->...t", weights_HTT).mean() * weights_HTT.shape[-1],
    )
  return samples


def _scores(heads, keys: str, x_TM: np.ndarray) -> np.ndarray:
  """Products of queries and keys before the scale, (H, T, T)."""
  q_THD = np.einsum("tm,mhd->thd", x_TM, kernel(heads, "query"))
  k_THD = np.einsum("tm,mhd->thd", x_TM, kernel(heads, keys))
  return np.einsum("thd,shd->hts", q_THD, k_THD)


def _asymmetry(score_HTT: np.ndarray) -> float:
  return float(np.abs(score_HTT - score_HTT.swapaxes(-1, -2)).max() / np.abs(score_HTT).max())
