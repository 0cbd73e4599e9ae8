"""Does attention with scaled dot products care how wide queries and keys are?

One head, one value per query; values keep the model's width while queries and keys grow from 8 to 512 features.

    assay sweep --config=key_dim

Expected (prototype, 300 steps, 5 seeds): mean accuracy over training .92, .94, .96, .94 at 8, 32, 128, 512: scaled
scores make the width nearly free. The cards `scaling` and `dot_vs_additive` show what happens without the scale.
"""

from configs import base
from configs import sweep as points

ASKS = "Does scaled dot-product attention care how wide queries and keys are?"
COMMAND = "assay sweep --config=key_dim"
EXPECTED = "prototype: mean accuracy over training .92 .94 .96 .94 at key width 8 32 128 512"
MINUTES = 2.0  # prototype: two cores, one seed per point

HEAD_DIMS = (8, 32, 128, 512)


def get_config():
  """Recall of one value per query; one attention layer of width 32 and nothing after it."""
  config = base.get_config()
  config.task = {"kind": "recall", "pairs": 12, "keys": 32, "values": 16, "queries": 6, "relations": 1}
  config.model.update({"width": 32, "heads": 1, "head_dim": 32, "value_dim": 32})
  config.model.feedforward = {"kind": "none"}
  config.model.init.kind = "lecun"
  return config


def sweep():
  """One point per key width."""
  return points.product({"model.head_dim": HEAD_DIMS})
