"""How is an English word pronounced? Letters to phonemes on CMUdict, real text with an encoder and a decoder.

Words are split by the digest of their stem, so that "walk" and "walked" stand on the same side. A run ends with
greedy decoding: the share of words and of phonemes it gets wrong.

    assay train --config=g2p
    assay sweep --config=g2p

Measured on two CPU cores that did other work beside it, in 54 minutes: of 2000 test words 31.6 % are wrong, and 7.7 %
of their phonemes. The loss on validation words (nats per phoneme) was .43, .36, .32, .28, .261 and .255 at step 500,
1000, 2000, 4000, 6000 and 8000. Needs `make data`.
"""

from configs import base
from configs import sweep as points

ASKS = "How is an English word pronounced, and what do heads change on real text?"
COMMAND = "assay train --config=g2p"
EXPECTED = "31.6 % of words and 7.7 % of phonemes wrong on 2000 test words"
MINUTES = 54.0  # one run on two busy cores

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
