"""Studies behind the claims about recurrent networks.

One layer each, 8192 weights in the core: an LSTM of width 32, or attention with one head and 64 hidden units.
"""

from experiments.protocol.claim import At, Study

ATTENTION = {"model.kind": "gpt", "model.position.kind": "sinusoidal"}
LSTM = {"model.kind": "rnn", "model.cell.kind": "lstm"}
READING = LSTM | {"model.reads": "after"}  # and attention over its own states (Luong et al. 2015)
NEITHER = ATTENTION | {"model.window": 1}  # a token sees itself alone; as many weights as attention
LAYER = {"model.width": 32, "model.heads": 1, "model.feedforward.kind": "relu", "model.feedforward.hidden": 64}
GRID = (1e-3, 3e-3, 1e-2)


def _at(lag: int, **options) -> dict:
  return {"task.lag": lag} | options


def chrono(lag: int) -> dict:
  """The strong baseline: gates that keep the state as long as the task asks for (Tallec & Ollivier 2018)."""
  return LSTM | {"model.cell.chrono": lag}


LAGS = (16, 64)
LAG = Study(
  "recall over a lag",
  card="recall",
  arms={
    f"{name}, lag {lag}": _at(lag, **arm) for lag in LAGS for name, arm in (("attention", ATTENTION), ("LSTM", LSTM))
  }
  | {f"LSTM chrono, lag {lag}": _at(lag, **chrono(lag)) for lag in LAGS}
  | {"LSTM with attention, lag 64": _at(64, **READING), "neither, lag 64": _at(64, **NEITHER)},
  metric="accuracy",
  tiers={
    "small": LAYER
    | {
      "task.kind": "lag",
      "task.symbols": 8,
      "train.batch": 16,
      "train.steps": 200,
      "eval.every": 50,
      "eval.batches": 4,
    },
    "long": LAYER
    | {
      "task.kind": "lag",
      "task.symbols": 8,
      "train.batch": 16,
      "train.steps": 1200,
      "eval.every": 100,
      "eval.batches": 8,
    },
  },
  grid=GRID,
  x="lag",
  at={f"{name}, lag {lag}": At(lag, name) for lag in LAGS for name in ("attention", "LSTM", "LSTM chrono")}
  | {f"{name}, lag 64": At(64, name) for name in ("LSTM with attention", "neither")},
)

# A row of pairs, then questions: what is not in the state when the questions come cannot be answered.
SIZES = ((8, 8), (32, 2), (32, 8))  # width and pairs
CAPACITY = Study(
  "recall and state size",
  card="recall",
  arms={
    f"{name} of width {width}, {pairs} pairs": arm | {"task.pairs": pairs, "model.width": width}
    for name, arm in (("attention", ATTENTION), ("LSTM", LSTM))
    for width, pairs in SIZES
  },
  metric="accuracy",
  tiers={
    "small": {
      "model.heads": 1,
      "model.feedforward.kind": "relu",
      "model.feedforward.hidden": 64,
      "task.kind": "recall",
      "task.relations": 1,
      "task.keys": 8,
      "task.values": 8,
      "task.queries": 4,
      "train.batch": 32,
      "train.steps": 300,
      "eval.every": 100,
    }
  },
  grid=(3e-3, 1e-2, 3e-2),
  x="width",
  at={
    f"{name} of width {width}, {pairs} pairs": At(width, f"{name}, {pairs} pairs")
    for name in ("attention", "LSTM")
    for width, pairs in SIZES
  },
)

# Fresh sequences of a chain after training on few or many of its sequences.
AMOUNTS = (64, 1024)
DATA = Study(
  "loss and amount of data",
  card="recall",
  arms={
    f"{name}, {amount} sequences": arm | {"task.sequences": amount}
    for name, arm in (("attention", ATTENTION), ("LSTM", LSTM))
    for amount in AMOUNTS
  },
  metric="best_loss",
  better="min",
  tiers={
    "small": LAYER | {"task.kind": "markov", "task.length": 16, "train.batch": 16, "train.steps": 300, "eval.every": 20}
  },
  grid=GRID,
  x="sequences",
  at={f"{name}, {amount} sequences": At(amount, name) for name in ("attention", "LSTM") for amount in AMOUNTS},
)
