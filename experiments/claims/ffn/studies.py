"""The study behind the rows on the feed-forward network: the modular sum of two symbols that attention finds."""

from experiments.protocol.claim import Study

_HIDDEN = 64


def network(kind: str, layers: int, order: str = "af") -> dict[str, object]:
  """Overrides of one arm with a feed-forward network of this kind."""
  return {
    "model.feedforward.kind": kind,
    "model.feedforward.hidden": _HIDDEN,
    "model.depth": layers,
    "model.wiring.order": order,
  }


def attention(layers: int, head_dim: int = 0) -> dict[str, object]:
  """Overrides of one arm without a network; heads of 16 features spend what the network would."""
  return {"model.feedforward.kind": "none", "model.depth": layers, "model.head_dim": head_dim}


# Sublayers in other orders need two layers: with one, nothing computes after attention has found the symbols.
ORDERS = {"before": "fa", "beside": "p", "two and two": "aaff"}

# Modulo 8 every arm of one layer, with a linear network or a true one, learned much of the sum on tuning seeds: quality
# is compared there by speed, and what a network is needed for modulo 16, where few came near the end of the scale.
_LARGE = {"task.symbols": 16, "train.steps": 400}

MOD_SUM = Study(
  "feed-forward",
  card="recall",
  arms={
    **{f"ReLU, {layers}": network("relu", layers) for layers in (1, 2)},
    "GELU, 1": network("gelu", 1),
    "identity, 1": network("identity", 1),
    "ReLU, modulo 16": network("relu", 1) | _LARGE,
    "identity, modulo 16": network("identity", 1) | _LARGE,
    "none, modulo 16": attention(1) | _LARGE,
    "wide attention, modulo 16": attention(1, head_dim=16) | _LARGE,
    **{f"ReLU, 2, {name}": network("relu", 2, order) for name, order in ORDERS.items()},
  },
  metric="auc",
  tiers={
    "small": {
      "task.kind": "mod_sum",
      "task.length": 8,
      "task.symbols": 8,
      "model.width": 32,
      "train.steps": 160,
      "eval.every": 20,
      "eval.batches": 2,
    }
  },
  grid=(1e-3, 3e-3, 1e-2, 3e-2),
  x="network",
)
