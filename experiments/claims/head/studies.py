"""Studies behind the claims about heads."""

from experiments.protocol.claim import At, Study

# Spaced by 2 and wide enough that the best rate of every arm lay inside on tuning seeds: one relation wants 5e-3 with
# one head and 2e-2 with four, two hops want 3e-3.
GRID = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)
SMALL = {"train.steps": 400, "eval.every": 20}

FOUR_KEYS = Study(
  "heads",
  card="heads",
  arms={f"heads={h}": {"model.heads": h} for h in (1, 2, 4, 8)},
  metric="auc",
  tiers={"quick": {"train.steps": 300, "eval.every": 20}, "small": SMALL},
  grid=GRID,
  x="heads",
)

# 32 heads of two features each (fixed width), and 32 of eight (fixed head width: four times the parameters).
MANY = Study(
  "heads, many",
  card="heads",
  arms={
    "heads=8": {"model.heads": 8},
    "heads=32": {"model.heads": 32},
    "heads=32 head_dim=8": {"model.heads": 32, "model.head_dim": 8},
  },
  metric="auc",
  tiers={"small": SMALL},
  grid=GRID[1:],
  x="heads",
  at={
    "heads=8": At(8, "fixed width"),
    "heads=32": At(32, "fixed width"),
    "heads=32 head_dim=8": At(32, "fixed head width"),
  },
)

# One relation is learned in a tenth of the steps.
ONE_KEY = {"task.relations": 1, "train.steps": 200}
RELATIONS = Study(
  "heads and relations",
  card="heads",
  arms={f"relations=4 heads={h}": {"model.heads": h} for h in (1, 4, 8)}
  | {f"relations=1 heads={h}": ONE_KEY | {"model.heads": h} for h in (1, 4, 8)},
  metric="auc",
  tiers={"small": SMALL},
  grid=GRID,
  x="heads",
  at={f"relations={r} heads={h}": At(h, f"relations={r}") for r in (4, 1) for h in (1, 4, 8)},
)

# Two layers, because a layer looks once; smaller tables, because 400 steps must do for two hops.
CHAIN = {"task.relations": 1, "model.depth": 2, "task.pairs": 8, "task.keys": 16, "task.values": 8}
COMPLEXITY = Study(
  "heads and complexity",
  card="heads",
  arms={f"relations=4 heads={h}": {"model.heads": h} for h in (1, 4)}
  | {f"relations=1 heads={h}": ONE_KEY | {"model.heads": h} for h in (1, 4)}
  | {f"hops=2 heads={h}": CHAIN | {"model.heads": h, "task.hops": 2} for h in (1, 4)}
  | {f"hops=1 heads={h}": CHAIN | {"model.heads": h, "train.steps": 200} for h in (1, 4)},
  metric="auc",
  tiers={"small": SMALL},
  grid=(1.25e-3, *GRID),
  x="heads",
  at={f"{task} heads={h}": At(h, task) for task in ("relations=4", "relations=1", "hops=2", "hops=1") for h in (1, 4)},
)

# Two lengths at which one head and four leave room on either side. The recurrent network has no heads.
RANGE = Study(
  "heads and distance",
  card="heads",
  arms={
    f"heads={h} pairs={pairs}": {"model.heads": h, "task.pairs": pairs, "task.keys": 64}
    for pairs in (12, 48)
    for h in (1, 4)
  }
  | {"LSTM pairs=12": {"model.kind": "rnn", "model.direction": "both", "task.pairs": 12, "task.keys": 64}},
  metric="auc",
  tiers={"small": SMALL},
  grid=GRID,
  x="pairs",
  at={f"heads={h} pairs={pairs}": At(pairs, f"heads={h}") for pairs in (12, 48) for h in (1, 4)}
  | {"LSTM pairs=12": At(12, "LSTM")},
)

# As many heads as relations, and twice as many.
INSIDE = Study(
  "heads, inside",
  card="heads",
  arms={f"heads={h}": {"model.heads": h} for h in (4, 8)},
  metric="auc",
  tiers={"small": SMALL},
  grid=GRID,
  probes=("mutual_information", "subspaces", "similarity", "pruning"),
  x="heads",
)

# Attention alone at equal parameters, head width 8 or more for rows of 8 symbols; a table too large for all arms.
CAPACITY = Study(
  "heads and capacity",
  card="recall",
  arms={f"heads={h}": {"model.heads": h} for h in (1, 2, 4, 8)},
  metric="accuracy",
  tiers={
    "small": {
      "task.kind": "memorize",
      "task.sequences": 2048,
      "model.feedforward.kind": "none",
      "model.position.kind": "learned",
      "model.position.length": 8,
      "optim.schedule.kind": "cosine",
      "train.steps": 600,
      "train.batch": 64,
      "eval.every": 60,
      "eval.batch": 256,
    }
  },
  grid=(2e-3, 4e-3, 8e-3, 1.6e-2),
  x="heads",
)
