"""How low does the word error rate go with a larger model on one accelerator? Letters to phonemes on CMUdict.

Four layers on each side at width 256, 8 heads, packed rows of words, bfloat16 activations; the same data, split and
judge as the card `g2p`, over every held-out word.

    assay train --config=g2p_gpu
    assay sweep --config=g2p_gpu --seeds=1

Aim: a word error rate of 22 % or less; published single models have 21-24 % on an older split (from memory, see
`assay explain G2P-HEAD`). Not measured yet.
"""

from configs import base
from configs import sweep as points

ASKS = "How low does the word error rate of a larger model go on one accelerator?"
COMMAND = "assay train --config=g2p_gpu"
EXPECTED = "aim: word error rate of 22 % or less; not measured yet"
MINUTES = 30.0  # a guess for one H200, to be measured

DROPOUTS = (0.1, 0.2, 0.3)


def get_config():
  """Encoder and decoder of four layers each, width 256, bfloat16 activations."""
  config = base.get_config()
  config.task = {"kind": "g2p", "judge_words": 0}
  config.model.update({"kind": "seq2seq", "width": 256, "depth": 4, "heads": 8, "dropout": 0.2})
  config.model.position = {"kind": "sinusoidal"}
  config.model.feedforward = {"kind": "relu", "hidden": 1024}
  config.optim.update({"lr": 1e-3, "label_smoothing": 0.1})
  config.optim.schedule.update({"kind": "warmup_cosine", "warmup": 2000})
  config.train.update({"steps": 40_000, "batch": 256, "compute": "bfloat16"})
  config.eval.update({"every": 1000, "batches": 4, "batch": 256, "judge": True})
  return config


def sweep():
  """One point per dropout rate."""
  return points.product({"model.dropout": DROPOUTS})
