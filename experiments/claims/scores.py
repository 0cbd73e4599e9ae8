"""The studies behind the rows on score functions: scaled, unscaled and additive scores, by key width.

Recall of one value per query, one layer, one head whose values stay 32 wide, 300 steps. Arms of one key width and kind
share a compiled program: scale, gain and first weights are numbers. The rates are centered so that the best one of
every arm lay inside on the tuning seeds; additive attention takes larger ones, unscaled dot products smaller ones.
"""

from experiments.protocol.claim import Study

CARD = "dot_vs_additive"
RATES = (2e-3, 6e-3, 2e-2, 6e-2)
WHOLE_BUDGET = {"train.steps": 300}

KINDS = {
  "unscaled": {"model.attention.kind": "dot", "model.attention.scale": 1.0},
  "scaled": {"model.attention.kind": "dot"},
  "additive": {"model.attention.kind": "additive"},
}


def arms(names: tuple[str, ...], **more: object) -> dict[str, dict[str, object]]:
  """Arms by name: "scaled 8" is the kind and the key width, "scaled 8, torch" also the scheme of W_Q and W_K."""
  return {name: _arm(*name.replace(",", "").split()) | more for name in names}


def _arm(kind: str, width: str, scheme: str = "") -> dict[str, object]:
  first = {"model.init.qk": scheme} if scheme else {}
  return KINDS[kind] | {"model.head_dim": int(width)} | first


MECHANISMS = Study(
  name="scores-by-key-width",
  card=CARD,
  arms=arms(
    (
      *("unscaled 8", "scaled 8", "additive 8", "scaled 8, torch", "additive 8, torch"),
      *("unscaled 128", "scaled 128", "additive 128", "unscaled 512", "scaled 512"),
    )
  ),
  metric="auc",
  tiers={"quick": WHOLE_BUDGET},
  grid=RATES,
  x="key width",
)

INITS = Study(
  name="scaling-by-first-weights",
  card=CARD,
  arms={
    **arms(("unscaled 128", "scaled 128", "unscaled 128, glorot", "scaled 128, glorot")),
    **arms(("unscaled 128, torch", "scaled 128, torch")),
    # W_Q and W_K times d^-1/4 each: the scores of step 0 are those of the scaled arm, the updates are not.
    "unscaled 128, shrunk": _arm("unscaled", "128") | {"model.init.qk_gain": 128**-0.25},
  },
  metric="auc",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  x="first weights",
)

EVENNESS = Study(
  name="evenness-after-training",
  card=CARD,
  arms=arms(("scaled 8, torch", "additive 8, torch", "scaled 128, torch", "additive 128, torch")),
  metric="auc",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  probes=("entropy",),
  x="key width",
)

GAIN = Study(
  name="additive-with-gain",
  card=CARD,
  arms={
    **arms(("scaled 8, torch", "additive 8, torch")),
    "additive 8, torch, gain 4": _arm("additive", "8", "torch") | {"model.attention.gain": 4.0},
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
    f"{kind} {width}, {task}": _arm(kind, width) | changes
    for task, changes in TASKS.items()
    for width in ("8", "128")
    for kind in KINDS
  },
  metric="loss",
  better="min",
  tiers={"small": WHOLE_BUDGET},
  grid=RATES,
  x="key width and task",
)
