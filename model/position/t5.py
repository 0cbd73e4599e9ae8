"""T5's relative bias (Raffel et al. 2020): score + b[bucket(s - t), h], one trained number per bucket and head.

Half of the buckets hold one distance each, the other half grow geometrically up to `reach`; all beyond share the last.
"""

import jax.numpy as jnp

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
    self.buckets, self.reach, self.bidirectional = int(buckets), int(reach), bool(bidirectional)
    self.table = param((self.buckets, heads), "bias")  # zero: no preference at the start

  def after(self, q_where, k_where):
    return jnp.moveaxis(self.table[...][self.bucket(ahead(q_where, k_where))], -1, 1).astype(jnp.float32)

  def bucket(self, ahead):
    """Bucket numbers of signed distances (key position - query position)."""
    buckets = self.buckets // 2 if self.bidirectional else self.buckets
    side = jnp.where(ahead > 0, buckets, 0) if self.bidirectional else 0
    distance = jnp.abs(ahead) if self.bidirectional else jnp.maximum(-ahead, 0)
    single = buckets // 2
    growth = jnp.log(jnp.maximum(distance, 1) / single) / jnp.log(self.reach / single)
    coarse = jnp.minimum(single + (growth * (buckets - single)).astype(jnp.int32), buckets - 1)
    return side + jnp.where(distance < single, distance, coarse)
