"""The studies behind the claims about positions. Small models, one learning-rate grid per study."""

from experiments.protocol.claim import Study

_MODEL = {"model.width": 32, "model.feedforward.hidden": 64, "train.batch": 32, "eval.every": 20, "eval.batches": 2}

# Encoders: two tasks of order (the token before, and who acts in noun-verb-noun clauses) and one without. No arm for
# clauses without an encoding: every rate gives one half there, and none would be best.
_TASKS = {
  "previous": {"task.kind": "previous", "task.length": 12},
  "roles": {"task.kind": "roles", "task.clauses": 4},
  "recall": {"task.kind": "recall", "task.relations": 1, "task.pairs": 6, "task.keys": 12, "task.values": 8},
}
_ADDED = {
  "none": {"model.position.kind": "none"},
  "sinusoidal": {"model.position.kind": "sinusoidal"},
  "learned": {"model.position.kind": "learned", "model.position.length": 12},
}

ORDER = Study(
  "order, encoders",
  card="recall",
  arms={f"previous, {name}": _TASKS["previous"] | encoding for name, encoding in _ADDED.items()}
  | {"roles, sinusoidal": _TASKS["roles"] | _ADDED["sinusoidal"]}
  | {f"recall, {name}": _TASKS["recall"] | _ADDED[name] for name in ("none", "sinusoidal")},
  metric="auc",
  tiers={"small": _MODEL | {"model.heads": 2, "train.steps": 120}},
  grid=(3e-3, 1e-2, 3e-2, 9e-2),
  x="encoding",
)

LENGTH = 12  # of the rows in training; the probe `longer` reads rows of 24 and of 48
SYMBOLS = 16
# T5 and Shaw share one number among all distances from 8 up, which training meets; a learned table has rows for 48.
SCHEMES = {
  "sinusoidal": {"model.position.kind": "sinusoidal"},
  "learned": {"model.position.kind": "learned", "model.position.length": 4 * LENGTH},
  "rope": {"model.position.kind": "rope"},
  "t5": {
    "model.position.kind": "t5",
    "model.position.bidirectional": False,
    "model.position.buckets": 8,
    "model.position.reach": 8,
  },
  "shaw": {"model.position.kind": "shaw", "model.position.clip": 8},
}
ABSOLUTE, RELATIVE = ("sinusoidal", "learned"), ("t5", "shaw", "rope")
_DECODER = _MODEL | {"model.kind": "gpt", "model.heads": 4, "task.length": LENGTH}

# Two layers, because one layer without positions finds out where a token stands and the next one looks there.
CAUSAL = Study(
  "order, decoders",
  card="recall",
  arms={
    "none": {"model.position.kind": "none"},
    **{name: SCHEMES[name] for name in ("sinusoidal", "rope", "t5")},
    "alibi": {"model.position.kind": "alibi"},
  },
  metric="auc",
  tiers={"small": _DECODER | {"task.kind": "previous", "task.symbols": SYMBOLS, "model.depth": 2, "train.steps": 120}},
  grid=(4e-3, 1e-2, 2.5e-2, 6e-2),
  probes=("longer",),
  x="encoding",
)

NOISE = 0.2  # share of the seasonal levels that move
_LAWS = {
  "motif": {
    "task.kind": "motif",
    "task.notes": 2,
    "task.pitches": 4,
    "task.intervals": 2,
    "model.depth": 2,  # the first layer finds where a motif stands, the second its notes
    "train.steps": 240,
  },
  "season": {
    "task.kind": "season",
    "task.period": 4,
    "task.levels": 8,
    "task.noise": NOISE,
    "model.depth": 1,
    "train.steps": 120,
  },
}
TABLE, SHAW = ("learned",), ("shaw",)  # a trained table each: the pair is also asked for answers tied to the clock

LAWS = Study(
  "music and seasons",
  card="recall",
  arms={f"{task}, {name}": law | SCHEMES[name] for task, law in _LAWS.items() for name in (*ABSOLUTE, *RELATIVE)}
  | {
    f"{task} by the clock, {name}": law | SCHEMES[name] | {"task.absolute": True}
    for task, law in _LAWS.items()
    for name in (*TABLE, *SHAW)
  },
  metric="loss",
  better="min",
  tiers={"small": _DECODER | {"train.batch": 16}},
  grid=(7e-4, 2e-3, 6e-3, 2e-2, 6e-2),
  probes=("longer",),
  x="scheme",
)
