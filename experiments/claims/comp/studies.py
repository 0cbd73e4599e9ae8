"""The studies behind the list of key components: a complete model, and the same with one part taken away.

What takes a part's place has its parameters: attention averages over all tokens instead of choosing (scale 0), the
feed-forward network is linear; positions, norms (gains and biases, under 3 %) and residuals have none or next to none.
"""

from collections.abc import Mapping

from experiments.claims.depth import DEPTH
from experiments.claims.ffn.studies import MOD_SUM
from experiments.claims.pos.studies import ORDER
from experiments.protocol.claim import Study

REMOVALS: Mapping[str, Mapping[str, object]] = {
  "attention": {"model.attention.scale": 0.0},
  "positions": {"model.position.kind": "none"},
  "network": {"model.feedforward.kind": "identity"},
  "norm": {"model.wiring.norm": "none"},
  "residual": {"model.wiring.residual": False},
}

# Tasks that stand in no other study, and what their complete model is.
_MODEL = {
  "model.width": 32,
  "model.position.kind": "sinusoidal",
  "model.feedforward.hidden": 64,
  "train.steps": 200,
  "eval.every": 20,
  "eval.batches": 1,
}
TASKS: Mapping[str, Mapping[str, object]] = {
  "relations": {"task.pairs": 6, "task.keys": 8, "task.values": 8, "task.queries": 4, "task.relations": 2},
  "words": {  # real text, letters to phonemes, built for no part
    "task.kind": "g2p",
    "model.kind": "seq2seq",
    "train.steps": 120,
    "train.batch": 8,
  },
}

# The prediction, made before the reporting seeds ran: which removals cost a task a tenth of its accuracy. What stands
# in OWN is tested; on the words every removal is.
PATTERN: Mapping[str, tuple[str, ...]] = {
  "order": ("attention", "positions"),
  "relations": ("attention",),
  "sum": ("network",),
  "deep": ("attention", "norm", "residual"),
}
OWN: Mapping[str, str] = {
  "attention": "relations",
  "positions": "order",
  "network": "sum",
  "norm": "deep",
  "residual": "deep",
}

# The others are arms of other studies, whose trials they share. Recall and the sum need no positions and have none.
_SHARED: Mapping[str, tuple[Study, Mapping[str, str]]] = {
  "order": (ORDER, {"complete": "previous, sinusoidal", "no positions": "previous, none"}),
  "sum": (MOD_SUM, {"complete": "ReLU, modulo 16", "no network": "identity, modulo 16"}),
  "deep": (DEPTH, {"complete": "pre, 6", "no norm": "none, 6", "no residual": "pre, 6, no residual"}),
}


def _arms() -> dict[str, Mapping[str, object]]:
  arms: dict[str, Mapping[str, object]] = {}
  for task, sizes in TASKS.items():
    arms[f"{task}, complete"] = {**_MODEL, **sizes}
    for part in REMOVALS:
      if task == "words" or OWN[part] == task:
        arms[f"{task}, no {part}"] = {**_MODEL, **sizes, **REMOVALS[part]}
  for task, (study, names) in _SHARED.items():
    arms |= {f"{task}, {name}": {**study.tiers["small"], **study.arms[arm]} for name, arm in names.items()}
  return arms


PARTS = Study(
  "parts taken away",
  card="recall",
  arms=_arms(),
  metric="auc",
  tiers={"small": {}},
  grid=DEPTH.grid,
  x="part taken away",
)
