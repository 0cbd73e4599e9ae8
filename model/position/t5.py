"""T5's relative bias (Raffel et al. 2020): score + b[bucket(s - t), h], one trained number per bucket and head.

Half of the buckets hold one distance each, the other half grow geometrically up to `reach`; all beyond share the last.
With n buckets on a side and s = n / 2, a distance d >= s lies in s + floor(s log(d/s) / log(reach/s)), at most n - 1.
"""

import bisect

import jax.numpy as jnp
import numpy as np

from model.errors import Refused
from model.initial import param
from model.position.scheme import Position, ahead


class T5(Position):
  """Shared by all layers of a stack. bidirectional: half of the buckets are for keys ahead of the query.

  Causal attention needs no such half; there `bidirectional=False` gives all buckets to the past.
  """

  cost_time = "T S"
  cost_memory = "H T S"

  def __init__(
    self, width: int, heads: int, head_dim: int, *, buckets: int = 32, reach: int = 128, bidirectional: bool = True
  ):
    sides = 2 if bidirectional else 1
    if buckets < 2 * sides or buckets % (2 * sides):
      raise Refused(f"position.buckets={buckets} must be a multiple of {2 * sides}, with bidirectional={bidirectional}")
    if reach <= buckets // (2 * sides):
      raise Refused(
        f"position.reach={reach} lies within the {buckets // (2 * sides)} buckets of one distance each; raise it"
      )
    if reach >= 2**31:
      raise Refused(f"position.reach={reach} is longer than any row; give a distance below 2147483648")
    self.buckets, self.reach, self.bidirectional = int(buckets), int(reach), bool(bidirectional)
    self.borders = borders(self.buckets // sides, self.reach)
    self.table = param((self.buckets, heads), "bias")  # zero: no preference at the start

  def after(self, q_positions, k_positions):
    return jnp.moveaxis(self.table[...][self.bucket(ahead(q_positions, k_positions))], -1, 1).astype(jnp.float32)

  def bucket(self, ahead):
    """Bucket numbers of signed distances (key position - query position)."""
    buckets = self.buckets // 2 if self.bidirectional else self.buckets
    side = jnp.where(ahead > 0, buckets, 0) if self.bidirectional else 0
    distance = jnp.abs(ahead) if self.bidirectional else jnp.maximum(-ahead, 0)
    single = buckets // 2
    wide = jnp.searchsorted(np.array(self.borders, np.int32), distance, side="right", method="compare_all")
    return side + jnp.where(distance < single, distance, single + wide)


def borders(buckets: int, reach: int) -> tuple[int, ...]:
  """The least distance in each of the wide buckets of a side but the first.

  In whole numbers: s log(d/s) / log(reach/s) >= b says d ** s >= reach ** b * s ** (s - b). A logarithm is rounded, and
  would put a distance that stands on a border on either side of it.
  """
  single = buckets // 2

  def least(bucket: int) -> int:
    power = reach**bucket * single ** (single - bucket)
    return bisect.bisect_left(range(reach), power, key=lambda distance: distance**single)

  return tuple(map(least, range(1, single)))
