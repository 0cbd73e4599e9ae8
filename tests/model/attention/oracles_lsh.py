"""Reformer's attention (Kitaev et al. 2020) as slow float64 loops, written from the paper and from nothing of ours.

One head and one row at a time: q_TD serves as keys too, rotations_R is a list with the matrices of every round.
"""

import math

import numpy as np

from tests.model.oracle import softmax


def key(x_D):
  """The query at length 1."""
  return x_D / math.sqrt(sum(float(x) ** 2 for x in x_D))


def score(q_D, k_D):
  """A query with the key that another is."""
  return sum(float(a) * float(b) for a, b in zip(q_D, key(k_D), strict=True))


def bucket(x_D, matrices):
  """h(x) = argmax [x R, -x R]; with several matrices (D, F) the buckets are digits of one number."""
  label, base = 0, 1
  for matrix in matrices:
    turned = [sum(float(x) * float(r) for x, r in zip(x_D, column, strict=True)) for column in matrix.T]
    turned += [-value for value in turned]
    label += base * turned.index(max(turned))
    base *= len(turned)
  return label


def buckets(q_TD, segment_T, rotations_R, chunk):
  """The bucket of every token in every round, (R, T); a sequence no longer than a chunk is one bucket."""
  sizes = {segment: list(segment_T).count(segment) for segment in segment_T}
  return np.array(
    [
      [0 if sizes[s] <= chunk else bucket(x_D, matrices) for x_D, s in zip(q_TD, segment_T, strict=True)]
      for matrices in rotations_R
    ]
  )


def places(bucket_T, segment_T):
  """Where each token stands once they are sorted by sequence, bucket and position, padding last."""
  order = sorted(range(len(bucket_T)), key=lambda t: (segment_T[t] or math.inf, bucket_T[t], t))
  return {t: place for place, t in enumerate(order)}


def reached(bucket_RT, segment_T, chunk, strict):
  """Pairs (round, query, key) in the same chunk or in one behind the other, as a list.

  strict: the paper's P_i; else the chunks of all rounds form a ring, and other buckets are seen too.
  """
  length, chunks = len(segment_T), -(-len(segment_T) // chunk)
  spots = [places(bucket_T, segment_T) for bucket_T in bucket_RT]
  found = []
  for r in range(len(bucket_RT)):
    for i in range(length):
      at = spots[r][i] // chunk
      for j in range(length):
        if strict:
          found += [(r, i, j)] * bool(bucket_RT[r][i] == bucket_RT[r][j] and at - spots[r][j] // chunk in (0, 1))
          continue
        before = r if at > 0 else (r - 1) % len(bucket_RT)
        found += [(r, i, j)] * (spots[r][j] // chunk == at)
        found += [(r, i, j)] * (spots[before][j] // chunk == (at - 1) % chunks)
  return found


def attend(q_TD, v_TD, seen_TS, pairs, once):
  """Output (T, Dv): softmax over the pairs seen, a token itself only where it sees no other; and weights (T, T).

  pairs: (round, query, key). once: a key met in several rounds counts once.
  """
  length = len(q_TD)
  weights = np.zeros((length, length))
  for i in range(length):
    met = [j for _, at, j in pairs if at == i and j != i and seen_TS[i, j]]
    keys = sorted(set(met)) if once else met
    if not keys and seen_TS[i, i]:
      keys = [i]
    if keys:
      for j, w in zip(keys, softmax([score(q_TD[i], q_TD[j]) for j in keys]), strict=True):
        weights[i, j] += w
  return weights @ v_TD.astype(np.float64), weights


def paper(q_TD, v_TD, seen_TS, bucket_RT, segment_T, chunk):
  """The paper's formula as it stands: sum over rounds of exp(logit - z) o, each pair divided by N_ij, its meetings."""
  out = np.zeros((len(q_TD), v_TD.shape[1]))
  pairs = reached(bucket_RT, segment_T, chunk, strict=True)
  for i in range(len(q_TD)):
    found = [(r, j) for r, at, j in pairs if at == i and j != i and seen_TS[i, j]]
    if not found:
      out[i] = v_TD[i] if seen_TS[i, i] else 0.0
      continue
    logits = [
      score(q_TD[i], q_TD[j]) - math.log(sum(bucket_T[i] == bucket_T[j] for bucket_T in bucket_RT)) for r, j in found
    ]
    for (_, j), w in zip(found, softmax(logits), strict=True):
      out[i] += w * v_TD[j].astype(np.float64)
  return out


def definition(bucket_RT):
  """Pairs that share a bucket in a round, whatever the chunks."""
  return [
    (r, i, j) for r, row in enumerate(bucket_RT) for i in range(len(row)) for j in range(len(row)) if row[i] == row[j]
  ]


def lsh(made, q_BTKGD, k_BTKD, v_BTKD, seen_BTS):
  """Rows no longer than a chunk, token t being key t: dense, and itself only where a token sees no other."""
  out = np.zeros((*q_BTKGD.shape[:4], v_BTKD.shape[-1]))
  assert q_BTKGD.shape[1] <= made.chunk
  for b, t, head in np.ndindex(*q_BTKGD.shape[:3]):
    keys = [s for s in range(k_BTKD.shape[1]) if seen_BTS[b, t, s] and s != t] or [t] * bool(seen_BTS[b, t, t])
    weights = softmax([score(q_BTKGD[b, t, head, 0], k_BTKD[b, s, head]) for s in keys]) if keys else []
    for s, w in zip(keys, weights, strict=True):
      out[b, t, head, 0] += w * v_BTKD[b, s, head].astype(np.float64)
  return out
