"""Recurrent cells and their attention as slow float64 loops, one token and one unit at a time, from the papers alone.

A cell takes one token (a vector of M), the state before it {name: vector of H} and the numbers {name: array}, and bears
the name of its file. numbers["given"] (gates, H) holds constants that stand beside the trained biases.
"""

import math

import numpy as np


def sigmoid(a):
  return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def product(vector, matrix):
  """Row vector times matrix."""
  return [sum(float(v) * float(m) for v, m in zip(vector, column, strict=True)) for column in matrix.T]


def _inputs(x_M, numbers, gate):
  """W x + b of one gate."""
  pairs = zip(product(x_M, numbers["kernel"][:, gate]), numbers["bias"][gate], numbers["given"][gate], strict=True)
  return [a + float(b) + float(c) for a, b, c in pairs]


def _both(x_M, h_H, numbers, gate):
  """W x + R h + b of one gate."""
  return [a + b for a, b in zip(_inputs(x_M, numbers, gate), product(h_H, numbers["recurrent"][gate]), strict=True)]


def tanh(x_M, state, numbers):
  """Elman 1990; the new output is the tanh of W x + R h + b."""
  return {"h": [math.tanh(a) for a in _both(x_M, state["h"], numbers, 0)]}


def lstm(x_M, state, numbers):
  """Hochreiter & Schmidhuber 1997, Gers et al. 2000, c = f c + i u, h = o tanh(c); gates input, forget, update, out."""
  i, f, u, o = (_both(x_M, state["h"], numbers, gate) for gate in range(4))
  c = [sigmoid(f[k]) * float(state["c"][k]) + sigmoid(i[k]) * math.tanh(u[k]) for k in range(len(i))]
  return {"c": c, "h": [sigmoid(o[k]) * math.tanh(c[k]) for k in range(len(o))]}


def gru(x_M, state, numbers):
  """Cho et al. 2014, the reset gate after the product: h = z h + (1 - z) n; gates reset, update, new."""
  r, z = (_both(x_M, state["h"], numbers, gate) for gate in range(2))
  n, again = _inputs(x_M, numbers, 2), product(state["h"], numbers["recurrent"][2])
  h = []
  for k, old in enumerate(state["h"]):
    new = math.tanh(n[k] + sigmoid(r[k]) * (again[k] + float(numbers["recurrent_bias"][k])))
    h.append(sigmoid(z[k]) * float(old) + (1 - sigmoid(z[k])) * new)
  return {"h": h}


def scan(x_M, state, numbers):
  """Martin & Cundy 2018: h = a h + (1 - a) n, gates of the input alone; gates keep, new."""
  a, n = (_inputs(x_M, numbers, gate) for gate in range(2))
  gates = [sigmoid(value) for value in a]
  return {"h": [g * float(old) + (1 - g) * math.tanh(new) for g, old, new in zip(gates, state["h"], n, strict=True)]}


def row(cell, x_TM, segment_T, numbers, state, segment, begin=None):
  """Outputs (T, H) and the last state of a row that goes on from `state`, which belongs to `segment`.

  Where a segment begins, the state is begin[name][t], or zeros; padding (segment 0) is stepped over and gives zeros.
  """
  outputs = []
  for t, x_M in enumerate(x_TM):
    if segment_T[t] == 0:
      outputs.append([0.0] * len(state["h"]))
      continue
    if segment_T[t] != segment:
      segment = segment_T[t]
      state = {name: [0.0] * len(old) if begin is None else list(begin[name][t]) for name, old in state.items()}
    state = cell(x_M, state, numbers)
    outputs.append(state["h"])
  return np.array(outputs), {name: np.array(value) for name, value in state.items()}


def answer(score, query, keys, values):
  """Attention of one query: sum of the values with weights softmax(score(query, key))."""
  scores = [score(query, key) for key in keys]
  exps = [math.exp(s - max(scores)) for s in scores]
  return [sum(e / sum(exps) * float(v[k]) for e, v in zip(exps, values, strict=True)) for k in range(len(values[0]))]


def dot(query, key):
  """Luong et al. 2015: q . k."""
  return sum(float(a) * float(b) for a, b in zip(query, key, strict=True))


def general(matrix):
  """Luong et al. 2015: q W k, the matrix of shape (key, query)."""
  return lambda query, key: dot(query, product(key, matrix))


def bahdanau(query_matrix, key_matrix, bias, readout):
  """Bahdanau et al. 2015: v . tanh(W q + U k + b)."""

  def score(query, key):
    terms = zip(product(query, query_matrix), product(key, key_matrix), bias, readout, strict=True)
    return sum(float(v) * math.tanh(a + b + float(c)) for a, b, c, v in terms)

  return score
