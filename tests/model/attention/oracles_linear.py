"""Linear, Performer and differential attention as float64 loops, written from the papers.

Each takes the mechanism (for its numbers), q, k, v and who sees whom, and returns the output (B, T, K, G, Dv).
"""

import math

import numpy as np

from tests.model.oracle import softmax


def linear(made, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Katharopoulos et al. 2020, equation 4 with the map of section 3.2.1, elu(x) + 1."""
  del made

  def feature(x_D):
    return [float(x) + 1.0 if x > 0 else math.exp(float(x)) for x in x_D]

  return _weighted(feature, q_BTKGD, k_BSKD, v_BSKD, seen_BTS)


def performer(made, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Choromanski et al. 2021, lemma 1: exp(w.x - |x|^2 / 2) / sqrt(m) at x divided by the fourth root of D."""
  directions_FD = np.asarray(made.directions(), np.float64)

  def feature(x_D):
    x_D = [float(x) / len(x_D) ** 0.25 for x in x_D]
    square = sum(x * x for x in x_D)
    powers = [sum(float(w) * x for w, x in zip(w_D, x_D, strict=True)) - square / 2 for w_D in directions_FD]
    return [math.exp(power) / math.sqrt(len(directions_FD)) for power in powers]

  return _weighted(feature, q_BTKGD, k_BSKD, v_BSKD, seen_BTS)


def _weighted(feature, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Values weighed with feature(q).feature(k), one pair at a time."""
  batch, queries, kv_heads, groups, _ = q_BTKGD.shape
  out = np.zeros((batch, queries, kv_heads, groups, v_BSKD.shape[-1]))
  f_k = {(b, s, h): feature(k_BSKD[b, s, h]) for b, s, h in np.ndindex(k_BSKD.shape[:3])}
  for b, t, h, g in np.ndindex(batch, queries, kv_heads, groups):
    f_q, total = feature(q_BTKGD[b, t, h, g]), 0.0
    for s in np.flatnonzero(seen_BTS[b, t]):
      weight = sum(x * y for x, y in zip(f_q, f_k[b, s, h], strict=True))
      out[b, t, h, g] += weight * v_BSKD[b, s, h].astype(np.float64)
      total += weight
    if total > 0:
      out[b, t, h, g] /= total
  return out


def differential(made, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Ye et al. 2024, section 2.1; the two halves of a head are its even and its odd features."""
  vectors = {
    name: np.asarray(getattr(made, f"lambda_{name}")[...], np.float64).tolist() for name in ("q1", "k1", "q2", "k2")
  }
  init = 0.8 - 0.6 * math.exp(-0.3 * made.layer)
  first, second = (sum(x * y for x, y in zip(vectors[f"q{i}"], vectors[f"k{i}"], strict=True)) for i in (1, 2))
  factor = math.exp(first) - math.exp(second) + init
  batch, queries, kv_heads, groups, width = q_BTKGD.shape
  out = np.zeros((batch, queries, kv_heads, groups, v_BSKD.shape[-1]))
  for b, t, h, g in np.ndindex(batch, queries, kv_heads, groups):
    maps = []
    for half in (0, 1):
      q_D, k_SD = q_BTKGD[b, t, h, g, half::2], k_BSKD[b, :, h, half::2]
      scores = [sum(float(x) * float(y) for x, y in zip(q_D, k_D, strict=True)) / math.sqrt(width / 2) for k_D in k_SD]
      maps.append(softmax([score if seen else -math.inf for score, seen in zip(scores, seen_BTS[b, t], strict=True)]))
    for s, (a, c) in enumerate(zip(*maps, strict=True)):
      out[b, t, h, g] += (a - factor * c) * v_BSKD[b, s, h].astype(np.float64)
    square = sum(float(x) ** 2 for x in out[b, t, h, g]) / v_BSKD.shape[-1]
    out[b, t, h, g] *= (1 - init) / math.sqrt(square + 1e-5)
  return out
