"""Sparse attention as slow float64 loops, one query and one key at a time, written from the papers alone.

A pattern says which keys a query of one head sees: pattern(head, t, s, row), where row holds the positions, segments
and marks of a row's columns. Which rule holds beside it (causal or not) and segments are the loop's business.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from tests.model import oracle


class Row(NamedTuple):
  """One row: a number per column, and which columns the content marks."""

  pos: tuple[int, ...]
  segment: tuple[int, ...]
  mark: tuple[bool, ...]

  def ends(self, t):
    """The first and the last position of the document that column t belongs to."""
    return _ends(self, self.segment[t])


@functools.cache
def _ends(row, segment):
  positions = [row.pos[s] for s in range(len(row.pos)) if row.segment[s] == segment]
  return min(positions), max(positions)


def attention(pattern, q, k, v, rows, causal, scale, view=lambda t, row: 0):
  """(out (B, T, K, G, Dv), lse (B, K, G, T)); q, k, v are lists with one array per view, `view` chooses by query."""
  batch, length, kv_heads, groups, _ = q[0].shape
  out, lse = np.zeros((*q[0].shape[:4], v[0].shape[-1])), np.full((batch, kv_heads, groups, length), -math.inf)
  for b, t, h, g in np.ndindex(batch, length, kv_heads, groups):
    row, which = rows[b], view(t, rows[b])
    scores = [-math.inf] * length
    for s in range(length):
      inside = row.segment[s] == row.segment[t] > 0 and (not causal or row.pos[s] <= row.pos[t])
      if inside and pattern(h * groups + g, t, s, row):
        scores[s] = scale * float(q[which][b, t, h, g].astype(np.float64) @ k[which][b, s, h].astype(np.float64))
    out[b, t, h, g] = np.array(oracle.softmax(scores)) @ v[which][b, :, h].astype(np.float64)
    lse[b, h, g, t] = oracle.log_sum_exp(scores)
  return out, lse


def banded(widths, dilation=1, anchors=(), symbols=False, most=16):
  """Beltagy et al. 2020, sections 3.1 and 3.2: (pattern, view) of sliding, dilated and global attention.

  `widths`: per head, |t - s| < width * dilation in steps of the dilation. The first `most` global tokens of a row,
  by document and position, are global.
  """

  @functools.cache
  def chosen(row):
    wanted = [
      s for s in range(len(row.pos)) if row.segment[s] > 0 and (row.pos[s] in anchors or (symbols and row.mark[s]))
    ]
    return sorted(wanted, key=lambda s: (row.segment[s], row.pos[s]))[:most]

  def pattern(head, t, s, row):
    distance = abs(row.pos[t] - row.pos[s])
    slides = distance % dilation == 0 and distance // dilation < widths[head]
    return slides or t in chosen(row) or s in chosen(row)

  return pattern, lambda t, row: int(t in chosen(row))


def bigbird(size, ends, drawn, causal):
  """Zaheer et al. 2020, section 2 and appendix D: window of three blocks, global blocks, random blocks.

  `drawn(place, count)`: the set of random blocks of block `place` of `count`. Blocks are counted from a document's
  first token. In causal attention no block is last.
  """

  def pattern(head, t, s, row):
    first, last = row.ends(t)
    i, j = ((row.pos[x] - first) // size for x in (t, s))
    count = (last - first) // size + 1
    edges = set(range(ends)) if causal else {*range(ends), *range(count - ends, count)}
    return abs(i - j) <= 1 or j in edges or (i in edges and not causal) or j in drawn(i, count)

  return pattern


def strided(stride):
  """Child et al. 2019, section 4.3: A(1) = the last `stride` positions, A(2) = those with (t - s) mod stride = 0."""

  def pattern(head, t, s, row):
    distance = abs(row.pos[t] - row.pos[s])
    return distance <= stride or distance % stride == 0

  return pattern


def fixed(stride, columns):
  """Child et al. 2019, section 4.3: A(1) = equal floor(position / stride), A(2) = s mod stride in its last columns."""

  def pattern(head, t, s, row):
    first, _ = row.ends(t)
    i, j = row.pos[t] - first, row.pos[s] - first
    return i // stride == j // stride or j % stride in range(stride - columns, stride)

  return pattern


block_sparse = bigbird  # the pattern that the mechanism has by default
