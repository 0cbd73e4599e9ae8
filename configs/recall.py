"""A small bench for comparing mechanisms: find the value that stands beside a key.

Twelve pairs of key and value, six queries, one value each. It trains in seconds, and tells mechanisms apart by speed
(mean accuracy over training) more than by the end, which most of them reach.

    assay compare --config=recall model.attention.kind=dot,additive,cosine

Expected (prototype, 200 steps, 5 seeds): one head and four heads both end at 1.00; more heads bring no gain here.
"""

from configs import base
from configs import sweep as points

ASKS = "How fast does a mechanism learn to find the value that stands beside a key?"
COMMAND = "assay compare --config=recall model.attention.kind=dot,additive,cosine"
EXPECTED = "prototype: scaled dot products end at accuracy 1.00 within 200 steps, with one head or four"
MINUTES = 1.0  # prototype: two cores, one seed per point


def get_config():
  """Recall of one value per query; one encoder layer of width 64 with four heads."""
  config = base.get_config()
  config.task = {"kind": "recall", "pairs": 12, "keys": 32, "values": 16, "queries": 6, "relations": 1}
  config.model.feedforward = {"kind": "relu", "hidden": 128}
  return config


def sweep():
  """One point per mechanism."""
  return points.product({"model.attention.kind": ("dot", "additive", "cosine")})
