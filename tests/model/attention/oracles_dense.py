"""Talking heads and sigmoid attention as slow float64 loops over numpy scalars, from the papers and nothing of ours.

Each takes the mechanism (for its numbers), q (B, T, K, G, D), k (B, S, K, D), v (B, S, K, Dv) and who sees whom
(B, T, S), and returns the output (B, T, K, G, Dv); `*_weights` are the weights (B, K, G, T, S).
"""

import math

import numpy as np

from tests.model.attention.cases import numbers
from tests.model.oracle import softmax


def talking(made, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Shazeer et al. 2020: scores mixed over the heads, softmax, weights mixed over the heads."""
  return _mix(talking_weights(made, q_BTKGD, k_BSKD, seen_BTS), v_BSKD)


def talking_weights(made, q_BTKGD, k_BSKD, seen_BTS, term_BHTS=None):
  """The weights; term_BHTS: what a position scheme adds to the score, behind the first mixture."""
  _, queries, kv_heads, groups, dim = q_BTKGD.shape
  before, after, heads = numbers(made)["before"], numbers(made)["after"], kv_heads * groups
  weights = np.zeros((len(q_BTKGD), kv_heads, groups, queries, k_BSKD.shape[1]))
  for b, t in np.ndindex(len(q_BTKGD), queries):
    keys = [s for s in range(k_BSKD.shape[1]) if seen_BTS[b, t, s]]
    if not keys:
      continue
    raw = [
      [_dot(q_BTKGD[b, t, h // groups, h % groups], k_BSKD[b, s, h // groups]) / math.sqrt(dim) for s in keys]
      for h in range(heads)
    ]
    mixed = [[sum(raw[f][i] * before[f, g] for f in range(heads)) for i in range(len(keys))] for g in range(heads)]
    if term_BHTS is not None:
      mixed = [
        [score + term_BHTS[b, g, t, s] for score, s in zip(row, keys, strict=True)] for g, row in enumerate(mixed)
      ]
    shares = [softmax(row) for row in mixed]
    for h in range(heads):
      for i, s in enumerate(keys):
        weights[b, h // groups, h % groups, t, s] = sum(shares[g][i] * after[g, h] for g in range(heads))
  return weights


def sigmoid(made, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Ramapuram et al. 2024: every key weighed by itself, with the bias -log n of n keys seen."""
  return _mix(sigmoid_weights(made, q_BTKGD, k_BSKD, seen_BTS), v_BSKD)


def sigmoid_weights(made, q_BTKGD, k_BSKD, seen_BTS):
  """The weights sigmoid(scale q.k + bias - log n); n is the mechanism's `length` or else the number of keys seen."""
  scale, bias = float(numbers(made)["scale"]), float(numbers(made)["bias"])
  batch, queries, kv_heads, groups, _ = q_BTKGD.shape
  weights = np.zeros((batch, kv_heads, groups, queries, k_BSKD.shape[1]))
  for b, k, g, t, s in np.ndindex(*weights.shape):
    if seen_BTS[b, t, s]:
      score = scale * _dot(q_BTKGD[b, t, k, g], k_BSKD[b, s, k]) + bias - math.log(made.length or sum(seen_BTS[b, t]))
      weights[b, k, g, t, s] = 1 / (1 + math.exp(-score))
  return weights


def _dot(q_D, k_D):
  return sum(float(a) * float(b) for a, b in zip(q_D, k_D, strict=True))


def _mix(weights_BKGTS, v_BSKD):
  batch, kv_heads, groups, queries, _ = weights_BKGTS.shape
  out = np.zeros((batch, queries, kv_heads, groups, v_BSKD.shape[-1]))
  for b, k, g, t, s in np.ndindex(*weights_BKGTS.shape):
    out[b, t, k, g] += weights_BKGTS[b, k, g, t, s] * v_BSKD[b, s, k].astype(np.float64)
  return out
