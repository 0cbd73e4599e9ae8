"""The studies behind the rows on residual connections and normalization: stacks of two and of six layers.

Recall of one value per query, rows of eight tokens. One layer solves the task, so that depth is a burden only. With two
layers both wirings learned it within the budget on tuning seeds: there speed is compared and not success.
"""

from experiments.protocol.claim import At, Study

BUDGET, SHORT = 320, 160  # steps, of the stacks and of the study of warm-up
_SMALL = {
  "task.pairs": 4,
  "task.keys": 6,
  "task.values": 6,
  "task.queries": 4,
  "model.width": 16,
  "model.heads": 2,
  "model.feedforward.hidden": 32,
  "train.batch": 16,
  "train.steps": BUDGET,
  "eval.every": 10,
  "eval.batches": 1,
}
DEEP = 6


def wired(norm: str, depth: int, residual: bool = True) -> dict[str, object]:
  """Overrides of one stack."""
  return {"model.wiring.norm": norm, "model.wiring.residual": residual, "model.depth": depth}


# Thrice apart. The budget is long enough for the norm after the sublayer: on tuning seeds its last run at 3e-3 arrives
# after 290 steps of six layers. Without residual, or without norm and with first weights drawn as usual, no run of six
# layers arrives at any rate.
GRID = (1e-3, 3e-3, 1e-2, 3e-2)
WINDOW = GRID[:3]

# The time to 90 % is what the rate is chosen by, too: arms that never arrive tie, where accuracies would be noise.
DEPTH = Study(
  "depth",
  card="recall",
  arms={
    "pre, 6": wired("pre", DEEP),
    "pre, 6, no residual": wired("pre", DEEP, residual=False),
    "post, 6": wired("post", DEEP),
    "none, 6": wired("none", DEEP),
    "none, 6, scaled": wired("none", DEEP) | {"model.init.out_gain": DEEP**-0.5},
    "pre, 2": wired("pre", 2),
    "pre, 2, no residual": wired("pre", 2, residual=False),
  },
  metric="t90_restricted",
  better="min",
  tiers={"small": _SMALL},
  grid=GRID,
  window=WINDOW,
  x="layers",
  at={
    "pre, 6": At(DEEP, "pre"),
    "pre, 6, no residual": At(DEEP, "pre, no residual"),
    "post, 6": At(DEEP, "post"),
    "none, 6": At(DEEP, "none"),
    "none, 6, scaled": At(DEEP, "none, scaled"),
    "pre, 2": At(2, "pre"),
    "pre, 2, no residual": At(2, "pre, no residual"),
  },
)

# On tuning seeds, at two layers and without warm-up, both placements train at the first of these rates, the norm before
# alone at the second, neither at the last; with warm-up the norm before trains there, too.
EDGE = (2e-2, 4e-2, 8e-2)
_WARM = {"optim.schedule.kind": "warmup", "optim.schedule.warmup": SHORT // 4}

WARM_UP = Study(
  "warm-up and placement",
  card="recall",
  arms={
    f"{norm}, {name}": wired(norm, 2) | schedule
    for norm in ("pre", "post")
    for name, schedule in (("constant", {}), ("warm-up", _WARM))
  },
  metric="loss",
  better="min",
  tiers={"small": _SMALL | {"train.steps": SHORT}},
  grid=(1e-2, *EDGE, 1.6e-1),
  window=EDGE,
  x="placement",
)
