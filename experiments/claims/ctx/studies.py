"""Studies behind the claims about the length of the context."""

from experiments.protocol.claim import At, Study

GPT = {
  "model.kind": "gpt",
  "model.position.kind": "rope",
  "model.width": 32,
  "model.heads": 2,
  "model.feedforward.kind": "relu",
  "model.feedforward.hidden": 64,
}

# One fact, some tokens before the end of a row of 40; nothing else tells the answer. Stretches of 20 tokens.
FACT = {
  "task.kind": "fact",
  "task.length": 40,
  "task.values": 8,
  "train.batch": 16,
  "train.steps": 120,
  "eval.every": 40,
}
CUT = {"model.segment": 20}
SEGMENTS = Study(
  "a fact beyond the segment",
  card="recall",
  arms={
    "whole row": {},
    "cut": CUT,
    "cut, memory": CUT | {"model.memory": 20},
  },
  metric="accuracy",
  tiers={"small": GPT | FACT | {"task.distance": 30}},
  grid=(3e-3, 1e-2, 3e-2),
  x="arm",
)

# Two layers with a window of 8 tokens reach 14 tokens back.
WINDOW = {"model.window": 8, "model.depth": 2}
DISTANCES = {"one window": 5, "two windows": 12, "beyond": 24}
WINDOWS = Study(
  "a fact beyond the window",
  card="recall",
  arms={f"window, {name}": WINDOW | {"task.distance": far} for name, far in DISTANCES.items() if name != "one window"}
  | {f"no window, {name}": {"model.depth": 2, "task.distance": DISTANCES[name]} for name in ("two windows", "beyond")},
  metric="accuracy",
  tiers={"small": GPT | FACT | {"train.steps": 160}},
  grid=(3e-3, 1e-2, 3e-2),
  x="arm",
)

# 20 pairs and 12 questions: rows of 32 tokens in random order, two layers.
SPARSE = {
  "dense": {"model.attention.kind": "dot"},
  "window and global": {
    "model.attention.kind": "banded",
    "model.attention.window": 8,
    "model.attention.anchors": (0, 1, 2, 3),
  },
  "blocks": {"model.attention.kind": "block_sparse", "model.attention.block_size": 4, "model.attention.random": 2},
  "hashing": {"model.attention.kind": "lsh", "model.attention.chunk": 8},
  "narrow window": {"model.attention.kind": "banded", "model.attention.window": 2},  # known to be worse
}
QUALITY = Study(
  "sparse attention and quality",
  card="recall",
  arms=SPARSE,
  metric="accuracy",
  tiers={
    "small": {
      "model.width": 32,
      "model.heads": 2,
      "model.depth": 2,
      "model.feedforward.hidden": 64,
      "model.position.kind": "sinusoidal",
      "task.pairs": 20,
      "task.keys": 40,
      "task.values": 8,
      "task.queries": 12,
      "train.batch": 16,
      "train.steps": 160,
      "eval.every": 40,
      "eval.batches": 1,
    }
  },
  grid=(3e-3, 1e-2, 3e-2),
  x="mechanism",
)

# Reformer's own task: a string of 15 symbols twice, hashed into chunks of 4.
ROUNDS = (1, 2, 4)
DUPLICATION = Study(
  "hash rounds",
  card="recall",
  arms={
    f"{n} rounds": {"model.attention.kind": "lsh", "model.attention.chunk": 4, "model.attention.rounds": n}
    for n in ROUNDS
  }
  | {"all keys": {"model.attention.kind": "dot", "model.tie": "qk", "model.itself": False}},
  metric="accuracy",
  tiers={
    "small": {
      "model.kind": "gpt",
      "model.position.kind": "learned",
      "model.position.length": 32,
      "model.width": 32,
      "model.heads": 2,
      "model.feedforward.hidden": 64,
      "task.kind": "duplicate",
      "task.length": 15,
      "train.batch": 16,
      "train.steps": 200,
      "eval.every": 50,
      "eval.batches": 1,
    }
  },
  grid=(4e-3, 1.2e-2, 3.6e-2),
  x="hash rounds",
)

# Characters of prose: 1024 a step in rows of 32 or of 256.
LONG = {"task.length": 256, "train.batch": 4, "eval.batch": 8}
SHORT = {"task.length": 32, "train.batch": 32, "eval.batch": 64}
PROSE = {
  "model.kind": "gpt",
  "model.position.kind": "rope",
  "model.width": 64,
  "model.heads": 2,
  "model.depth": 2,
  "model.feedforward.hidden": 128,
  "task.kind": "prose",
}
CONTEXT = Study(
  "context of prose",
  card="recall",
  arms={"context 32": SHORT, "context 256": LONG},
  metric="loss",
  better="min",
  tiers={
    "small": PROSE | {"train.steps": 80, "eval.every": 40, "eval.batches": 4},
    "long": PROSE | {"train.steps": 640, "eval.every": 80, "eval.batches": 8},
  },
  grid=(3e-3, 1e-2, 3e-2),
  x="context",
  at={"context 32": At(32), "context 256": At(256)},
)
