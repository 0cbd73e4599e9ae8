"""How is an English word pronounced? Letters to phonemes on CMUdict, real text with an encoder and a decoder.

Words are split by the digest of their stem, so that "walk" and "walked" stand on the same side. A run ends with
greedy decoding: the share of words and of phonemes it gets wrong.

    assay train --config=g2p
    assay sweep --config=g2p

Expected (prototype, width 64, 2+2 layers, 4 heads, 1600 steps of a smaller model): word error rate .47 and falling;
with 400 steps of one layer .75 with one head, .73 with eight, .99 with one unscaled head. Needs `make data`.
"""

from configs import base
from configs import sweep as points

ASKS = "How is an English word pronounced, and what do heads change on real text?"
COMMAND = "assay train --config=g2p"
EXPECTED = "prototype: word error rate .47 and falling after 1600 steps of a smaller model (width 64)"
MINUTES = 90.0  # prototype: two cores, one run; extrapolated from .1 s per step at half the width

HEADS = (1, 2, 4, 8, 16)


def get_config():
  """Encoder and decoder of two layers each, width 128, with packed rows of words."""
  config = base.get_config()
  config.task = {"kind": "g2p"}
  config.model.update({"kind": "seq2seq", "width": 128, "depth": 2, "heads": 4, "dropout": 0.1})
  config.model.position = {"kind": "sinusoidal"}
  config.model.feedforward = {"kind": "relu", "hidden": 512}
  config.optim.update({"lr": 2e-3, "label_smoothing": 0.1})
  config.optim.schedule.update({"kind": "warmup_cosine", "warmup": 400})
  config.train.update({"steps": 8000, "batch": 64})
  config.eval.update({"every": 500, "batches": 4, "batch": 64, "judge": True})
  return config


def sweep():
  """One point per number of heads."""
  return points.product({"model.heads": HEADS})
