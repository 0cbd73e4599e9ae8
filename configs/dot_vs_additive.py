"""Is additive attention better than dot products as keys grow wider, and is it so against scaled dot products?

The card `key_dim` with three mechanisms that have the same projections: dot products with the scale, without it, and
additive scores v tanh(q + k + b).

    assay sweep --config=dot_vs_additive

Expected (prototype, 300 steps, 5 seeds, best learning rate each): additive minus unscaled dot, in mean accuracy over
training, goes from -.03 at 8 features to +.38 at 512; additive minus scaled dot stays between -.03 and -.06.
"""

from configs import key_dim
from configs import sweep as points

ASKS = "Is additive attention better than dot products as keys grow wider?"
COMMAND = "assay sweep --config=dot_vs_additive"
EXPECTED = (
  "prototype: additive passes unscaled dot between key width 8 and 32 and stays below scaled dot at every width"
)
MINUTES = 4.0  # prototype: two cores, one seed per point


def get_config():
  """The card key_dim."""
  return key_dim.get_config()


def sweep():
  """Mechanism x key width."""
  mechanisms = [
    {"model.attention.kind": "dot", "model.attention.scale": None},
    {"model.attention.kind": "dot", "model.attention.scale": 1.0},
    {"model.attention.kind": "additive"},
  ]
  return points.product(mechanisms, {"model.head_dim": key_dim.HEAD_DIMS})
