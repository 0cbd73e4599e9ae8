"""The studies behind the rows on score functions: scaled, unscaled and additive scores, by key width.

Recall of one value per query, one layer, one head whose values stay 32 wide, 300 steps. Arms of one key width and kind
share a compiled program: scale, gain and first weights are numbers. The rates are centered so that the best one of
every arm lay inside on the tuning seeds; additive attention takes larger ones, unscaled dot products smaller ones.
"""

from typing import NamedTuple

from experiments.protocol.claim import At, Study

CARD = "dot_vs_additive"
RATES = (2e-3, 6e-3, 2e-2, 6e-2)
WHOLE_BUDGET = {"train.steps": 300}

KINDS = {
  "unscaled": {"model.attention.kind": "dot", "model.attention.scale": 1.0},
  "scaled": {"model.attention.kind": "dot"},
  "additive": {"model.attention.kind": "additive"},
}


class Arm(NamedTuple):
  """One arm of most studies here: a kind, its key width, and the scheme of W_Q and W_K where one is named."""

  kind: str
  width: int
  scheme: str = ""

  @property
  def name(self) -> str:
    """The kind and the key width, such as "scaled 8" or "scaled 8, torch"."""
    return f"{self.kind} {self.width}" + (f", {self.scheme}" if self.scheme else "")

  @property
  def overrides(self) -> dict[str, object]:
    first = {"model.init.qk": self.scheme} if self.scheme else {}
    return KINDS[self.kind] | {"model.head_dim": self.width} | first


def arms(*chosen: Arm) -> dict[str, dict[str, object]]:
  """Overrides of these arms, by name."""
  return {arm.name: arm.overrides for arm in chosen}


def along(*chosen: Arm) -> dict[str, At]:
  """Where these arms stand: at their key width, on the line of the others of their kind and scheme."""
  return {arm.name: At(arm.width, ", ".join(filter(None, (arm.kind, arm.scheme)))) for arm in chosen}


_WIDTHS: tuple[Arm, ...] = (
  *(Arm(kind, 8) for kind in ("unscaled", "scaled", "additive")),
  *(Arm(kind, 8, "torch") for kind in ("scaled", "additive")),
  *(Arm(kind, 128) for kind in ("unscaled", "scaled", "additive")),
  *(Arm(kind, 512) for kind in ("unscaled", "scaled")),
)
MECHANISMS = Study(
  name="scores-by-key-width",
  card=CARD,
  arms=arms(*_WIDTHS),
  metric="auc",
  tiers={"quick": WHOLE_BUDGET},
  grid=RATES,
  x="key width",
  at=along(*_WIDTHS),
)

INITS = Study(
  name="scaling-by-first-weights",
  card=CARD,
  arms={
    **arms(*(Arm(kind, 128, scheme) for scheme in ("", "glorot", "torch") for kind in ("unscaled", "scaled"))),
    # W_Q and W_K times d^-1/4 each: the scores of step 0 are those of the scaled arm, the updates are not.
    "unscaled 128, shrunk": Arm("unscaled", 128).overrides | {"model.init.qk_gain": 128**-0.25},
  },
  metric="auc",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  x="first weights",
)

_EVEN: tuple[Arm, ...] = tuple(Arm(kind, width, "torch") for width in (8, 128) for kind in ("scaled", "additive"))
EVENNESS = Study(
  name="evenness-after-training",
  card=CARD,
  arms=arms(*_EVEN),
  metric="auc",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  probes=("entropy",),
  x="key width",
  at=along(*_EVEN),
)

GAIN = Study(
  name="additive-with-gain",
  card=CARD,
  arms={
    **arms(Arm("scaled", 8, "torch"), Arm("additive", 8, "torch")),
    "additive 8, torch, gain 4": Arm("additive", 8, "torch").overrides | {"model.attention.gain": 4.0},
  },
  metric="auc",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  x="gain",
)

# Two recall tasks that are not learned to the end within the budget: many symbols, and a model too narrow for them.
TASKS = {
  "symbols": {"task.keys": 128, "task.values": 64},
  "narrow": {"task.values": 64, "model.width": 16, "model.value_dim": 16},
}

QUALITY = Study(
  name="dot-against-additive-quality",
  card=CARD,
  arms={
    f"{kind} {width}, {task}": Arm(kind, width).overrides | changes
    for task, changes in TASKS.items()
    for width in (8, 128)
    for kind in KINDS
  },
  metric="loss",
  better="min",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  x="key width",
  at={
    f"{kind} {width}, {task}": At(width, f"{kind}, {task}") for task in TASKS for width in (8, 128) for kind in KINDS
  },
)
