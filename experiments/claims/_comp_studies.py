"""The studies behind the list of key components: a complete model, and the same with one part taken away.

What takes a part's place has its parameters: attention averages over all tokens instead of choosing (scale 0), the
feed-forward network is linear; positions, norms (gains and biases, under 3 %) and residuals have none or next to none.
"""

from collections.abc import Mapping

from experiments.claim import Study
from experiments.claims._depth_studies import DEPTH

REMOVALS: Mapping[str, Mapping[str, object]] = {
  "attention": {"model.attention.scale": 0.0},
  "positions": {"model.position.kind": "none"},
  "network": {"model.feedforward.kind": "identity"},
  "norm": {"model.wiring.norm": "none"},
  "residual": {"model.wiring.residual": False},
}

# Which task was built for which part, and what its complete model is.
_MODEL = {
  "model.width": 32,
  "model.position.kind": "sinusoidal",
  "model.feedforward.hidden": 64,
  "train.steps": 200,
  "eval.every": 20,
  "eval.batches": 1,
}
TASKS: Mapping[str, Mapping[str, object]] = {
  "order": {"task.kind": "previous", "task.length": 8, "task.symbols": 8},
  "relations": {"task.pairs": 6, "task.keys": 8, "task.values": 8, "task.queries": 4, "task.relations": 2},
  "sum": {
    "task.kind": "mod_sum",
    "task.length": 8,
    "task.symbols": 16,
    "train.steps": 400,
  },
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

# The deep stack is that of the depth study, whose trials it shares; recall needs no positions, and has none there.
_DEEP = {"complete": "pre, 8", "norm": "none, 8", "residual": "pre, 8, no residual"}


def _arms() -> dict[str, Mapping[str, object]]:
  arms: dict[str, Mapping[str, object]] = {}
  for task, sizes in TASKS.items():
    arms[f"{task}, complete"] = {**_MODEL, **sizes}
    for part in REMOVALS:
      if task == "words" or OWN[part] == task:
        arms[f"{task}, no {part}"] = {**_MODEL, **sizes, **REMOVALS[part]}
  for part, arm in _DEEP.items():
    arms[f"deep, {part if part == 'complete' else f'no {part}'}"] = {**DEPTH.tiers["small"], **DEPTH.arms[arm]}
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
