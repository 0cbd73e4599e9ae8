"""What does dividing scores by the root of the key width buy, and does it depend on the initial weights?

The card `key_dim`, with and without the scale, under three schemes of initial query and key projections, which give
scores of different variance. The last points leave the scale out and shrink the initial projections instead, so that
scores start out alike: what is left is the size of the updates.

    assay sweep --config=scaling

Expected (prototype, 300 steps, 5 seeds, best learning rate each): mean accuracy over training falls without the scale
from .89 at 8 features to .54 at 512 (lecun), and stays near .94 with it; no difference at 8 with torch's small weights.
"""

from configs import key_dim
from configs import sweep as points

ASKS = "What does dividing scores by the root of the key width buy, under different initial weights?"
COMMAND = "assay sweep --config=scaling"
EXPECTED = (
  "prototype: mean accuracy over training falls from .89 to .54 unscaled and stays at .94 scaled, key width 8 to 512"
)
MINUTES = 8.0  # prototype: two cores, one seed per point

INITS = ("lecun", "glorot", "torch")


def get_config():
  """The card key_dim; the scale None means one over the root of the key width."""
  return key_dim.get_config()


def sweep():
  """Scale x key width x scheme, then the unscaled arm whose scores start out as if scaled."""
  scales = {"model.attention.scale": (None, 1.0)}
  grid = points.product({"model.init.qk": INITS}, {"model.head_dim": key_dim.HEAD_DIMS}, scales)
  # the gain multiplies queries and keys, so that a score has it squared: one over the root of the width
  shrunk = points.zipped(
    {
      "model.head_dim": key_dim.HEAD_DIMS,
      "model.init.qk_gain": [dim**-0.25 for dim in key_dim.HEAD_DIMS],
    }
  )
  unscaled = {"model.init.qk": ("lecun",), "model.attention.scale": (1.0,)}
  return points.chain(grid, points.product(unscaled, shrunk))
