"""Attention as slow float64 loops over numpy scalars, written from the papers and from nothing of ours.

A score takes one query, one key (vectors of D), the mechanism's numbers {name: array} and the head's index; it bears
the name of the mechanism's file.
"""

import fractions
import math

import numpy as np


def dot(q_D, k_D, numbers, head):
  """Vaswani et al. 2017: scale * q.k."""
  factor = float(numbers.get("factor", 1.0))
  return float(numbers["scale"]) * factor * sum(float(a) * float(b) for a, b in zip(q_D, k_D, strict=True))


def additive(q_D, k_D, numbers, head):
  """Bahdanau et al. 2015: gain * v . tanh(q + k + b)."""
  readout_D, bias_D = numbers["readout"][head], numbers["bias"][head]
  terms = zip(readout_D, q_D, k_D, bias_D, strict=True)
  return float(numbers["gain"]) * sum(float(v) * math.tanh(float(q) + float(k) + float(b)) for v, q, k, b in terms)


def cosine(q_D, k_D, numbers, head):
  """Henry et al. 2020: scale * factor * q.k / (|q| |k|); a length below .01 counts as .01."""
  product = sum(float(a) * float(b) for a, b in zip(q_D, k_D, strict=True))
  norms = math.prod(max(math.sqrt(sum(float(a) ** 2 for a in x_D)), 0.01) for x_D in (q_D, k_D))
  return float(numbers["scale"]) * float(numbers["factor"][head]) * product / norms


def softmax(scores):
  """Weights of a list of scores; all zero if every score is -inf."""
  top = max(scores)
  if top == -math.inf:
    return [0.0] * len(scores)
  exps = [math.exp(score - top) for score in scores]
  return [e / sum(exps) for e in exps]


def log_sum_exp(scores):
  """Log sum exp, -inf for no score at all."""
  top = max(scores)
  return top if top == -math.inf else top + math.log(sum(math.exp(score - top) for score in scores))


def causal(q_pos, k_pos):
  """No look at the future."""
  return k_pos <= q_pos


def everything(q_pos, k_pos):
  """Bidirectional."""
  return True


def seen(rule, q_pos_BT, q_segment_BT, k_pos_BS, k_segment_BS):
  """rule(q position, k position) within one segment, as booleans (B, T, S)."""
  batch, queries, keys = q_pos_BT.shape[0], q_pos_BT.shape[1], k_pos_BS.shape[1]
  result = np.zeros((batch, queries, keys), bool)
  for b in range(batch):
    for t in range(queries):
      for s in range(keys):
        same = q_segment_BT[b, t] == k_segment_BS[b, s] and k_segment_BS[b, s] > 0
        result[b, t, s] = same and rule(int(q_pos_BT[b, t]), int(k_pos_BS[b, s]))
  return result


def attention(score, numbers, q_BTKGD, k_BSKD, v_BSKD, seen_BTS):
  """Output (B, T, K, G, Dv), weights (B, K, G, T, S) and log-sum-exp (B, K, G, T)."""
  batch, queries, kv_heads, groups, _ = q_BTKGD.shape
  keys, wide = k_BSKD.shape[1], v_BSKD.shape[-1]
  out = np.zeros((batch, queries, kv_heads, groups, wide))
  weights, lse = np.zeros((batch, kv_heads, groups, queries, keys)), np.zeros((batch, kv_heads, groups, queries))
  for b, t, k, g in np.ndindex(batch, queries, kv_heads, groups):
    scores = [
      score(q_BTKGD[b, t, k, g], k_BSKD[b, s, k], numbers, k * groups + g) if seen_BTS[b, t, s] else -math.inf
      for s in range(keys)
    ]
    weights[b, k, g, t], lse[b, k, g, t] = softmax(scores), log_sum_exp(scores)
    for s in range(keys):
      out[b, t, k, g] += weights[b, k, g, t, s] * v_BSKD[b, s, k].astype(np.float64)
  return out, weights, lse


def project(x_BTM, kernel, bias=None):
  """The map x W + b for a kernel (M, ...), one output number at a time."""
  batch, length, _ = x_BTM.shape
  y = np.zeros((batch, length, *kernel.shape[1:]))
  for b, t in np.ndindex(batch, length):
    for at in np.ndindex(*kernel.shape[1:]):
      y[(b, t, *at)] = sum(float(x) * float(w) for x, w in zip(x_BTM[b, t], kernel[(slice(None), *at)], strict=True))
      y[(b, t, *at)] += 0.0 if bias is None else float(bias[at])
  return y


def heads(score, numbers, params, x_BTM, memory_BSM, seen_BTS, tie="none"):
  """Multi-head attention with grouped queries and tied projections: output (B, T, M) and weights (B, K, G, T, S)."""
  q = project(x_BTM, params["query"], params.get("query_bias"))
  if tie in ("qk", "qkv"):
    k = project(memory_BSM, params["query"], params.get("query_bias"))[:, :, :, 0]
  else:
    k = project(memory_BSM, params["key"], params.get("key_bias"))
  v = k if tie in ("kv", "qkv") else project(memory_BSM, params["value"], params.get("value_bias"))
  out, weights, _ = attention(score, numbers, q, k, v, seen_BTS)
  flat_BTF = out.reshape(*out.shape[:2], -1)
  return project(flat_BTF, params["out"].reshape(flat_BTF.shape[-1], -1), params.get("out_bias")), weights


def sinusoid(position, width, base=10000.0):
  """Vaswani et al. 2017, section 3.5: one position's vector."""
  angles = [position / base ** (2 * (i // 2) / width) for i in range(width)]
  return np.array([math.sin(a) if i % 2 == 0 else math.cos(a) for i, a in enumerate(angles)])


def rotated(x_D, position, base=10000.0):
  """Su et al. 2021: feature i and i + D/2 as one complex number, turned by position / base^(2i/D)."""
  half = len(x_D) // 2
  turned = np.zeros(len(x_D))
  for i in range(half):
    angle = position / base ** (2 * i / len(x_D))
    number = complex(float(x_D[i]), float(x_D[i + half])) * complex(math.cos(angle), math.sin(angle))
    turned[i], turned[i + half] = number.real, number.imag
  return turned


def alibi_slope(head, heads):
  """Press et al. 2022 for a power of two heads: 2^(-8 (head + 1) / heads)."""
  return 2.0 ** (-8.0 * (head + 1) / heads)


def t5_bucket(distance_ahead, buckets, reach, bidirectional):
  """Raffel et al. 2020: single distances first, then logarithmic up to `reach`, in whole numbers.

  s log(d/s) / log(r/s) >= b, as powers: (d/s) ** s >= (r/s) ** b.
  """
  first, distance = 0, -distance_ahead
  if bidirectional:
    buckets //= 2
    if distance < 0:
      first, distance = buckets, -distance
  distance = max(distance, 0)
  single = buckets // 2
  if distance < single:
    return first + distance
  power = fractions.Fraction(distance, single) ** single
  reached = [b for b in range(single) if power >= fractions.Fraction(reach, single) ** b]
  return first + single + max(reached)


def shaw_attention(q_TD, k_SD, v_SD, key_RD, value_RD, clip, q_pos, k_pos):
  """Shaw et al. 2018, one head that sees every key: sum_s w (v_s + a_V), w = softmax(q . (k_s + a_K) / sqrt(D))."""
  out = np.zeros((len(q_TD), v_SD.shape[1]))
  for t, q_D in enumerate(q_TD):
    steps = [max(-clip, min(clip, int(k_pos[s]) - int(q_pos[t]))) + clip for s in range(len(k_SD))]
    keys = [[float(a) + float(b) for a, b in zip(k_SD[s], key_RD[r], strict=True)] for s, r in enumerate(steps)]
    weights = softmax([sum(float(a) * b for a, b in zip(q_D, key, strict=True)) / math.sqrt(len(q_D)) for key in keys])
    for s, r in enumerate(steps):
      out[t] += weights[s] * (v_SD[s].astype(np.float64) + value_RD[r].astype(np.float64))
  return out


def xl_attention(q_TD, k_SD, v_SD, kernel_MD, content_D, distance_D, reach, q_pos, k_pos):
  """Dai et al. 2019, one head that sees every key: ((q + u) . k + (q + v) . W_R r[t - s]) / sqrt(D), r as sinusoids."""
  out, width = np.zeros((len(q_TD), v_SD.shape[1])), len(kernel_MD)
  for t, q_D in enumerate(q_TD):
    scores = []
    for s, k_D in enumerate(k_SD):
      d = max(-reach, min(reach, int(q_pos[t]) - int(k_pos[s])))
      pace = [10000.0 ** (-2 * i / width) for i in range(width // 2)]
      r_M = [math.sin(d * p) for p in pace] + [math.cos(d * p) for p in pace]
      far_D = [sum(r * float(w) for r, w in zip(r_M, kernel_MD[:, i], strict=True)) for i in range(len(q_D))]
      near = sum((float(q) + float(u)) * float(k) for q, u, k in zip(q_D, content_D, k_D, strict=True))
      far = sum((float(q) + float(v)) * r for q, v, r in zip(q_D, distance_D, far_D, strict=True))
      scores.append((near + far) / math.sqrt(len(q_D)))
    for s, weight in enumerate(softmax(scores)):
      out[t] += weight * v_SD[s].astype(np.float64)
  return out
