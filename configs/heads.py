"""How many heads does a task need that asks for four things at once?

Every query token carries four keys and must return their four values in order. The width is fixed, so one head has 64
features and 32 heads have two each; the number of parameters is the same at every point.

    assay sweep --config=heads

Expected (prototype, 300 steps, 6-8 seeds, best learning rate): accuracy .41, .67, 1.00, 1.00, .96, .36 with
1, 2, 4, 8, 16, 32 heads: too few cannot look in four places, too many have keys too narrow to tell apart.
"""

from configs import base
from configs import sweep as points

ASKS = "How many heads does a task need that asks for four things at once?"
COMMAND = "assay sweep --config=heads"
EXPECTED = "prototype: accuracy .41 .67 1.00 1.00 .96 .36 with 1 2 4 8 16 32 heads"
MINUTES = 3.0  # prototype: two cores, one seed per point

HEADS = (1, 2, 4, 8, 16, 32)


def get_config():
  """Recall of four values per query; one encoder layer of width 64."""
  config = base.get_config()
  config.task = {"kind": "recall", "pairs": 12, "keys": 32, "values": 16, "queries": 6, "relations": 4}
  config.model.feedforward = {"kind": "relu", "hidden": 128}
  return config


def sweep():
  """One point per number of heads."""
  return points.product({"model.heads": HEADS})
