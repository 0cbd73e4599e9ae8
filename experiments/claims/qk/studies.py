"""Studies behind the claims about separate query, key and value projections.

Tied scores are symmetric and largest with oneself (QK-4). Arms called "others" may not attend to themselves, so that
this does not stand in for what sharing does to a relation between different tokens (Kitaev et al. 2020 mask self too).
"""

from experiments.protocol.claim import Study

SHARED, OTHERS = {"model.tie": "qk"}, {"model.itself": False}
NARROW = {"model.head_dim": 16, "model.value_dim": 32}  # as many parameters in W_Q and W_K as one shared matrix has
DEEP = {"model.depth": 2, "model.feedforward.kind": "relu", "model.feedforward.hidden": 64}
SYMMETRIC = {"task.symmetric": True}
ONE_HEAD = {"model.width": 32, "model.heads": 1, "model.feedforward.kind": "none", "train.batch": 32}

# Whose value to say: that of the token one further on (asymmetric), or of the other one of a pair (symmetric).
RELATION = Study(
  "shared queries and keys",
  card="recall",
  arms={
    "separate": OTHERS,
    "separate, half as wide": OTHERS | NARROW,
    "shared": SHARED,
    "shared, others": SHARED | OTHERS,
    "separate, symmetric": OTHERS | SYMMETRIC,
    "shared, others, symmetric": SHARED | OTHERS | SYMMETRIC,
    "separate, deep": OTHERS | DEEP,
    "shared, others, deep": SHARED | OTHERS | DEEP,
  },
  metric="accuracy",
  tiers={"small": ONE_HEAD | {"task.kind": "partner", "train.steps": 150, "eval.every": 50}},
  grid=(3e-3, 1e-2, 3e-2),
  x="arm",
)

# 64 sequences of a chain with known entropy, seen over and over; held out are fresh sequences of the same chain.
GENERAL = Study(
  "shared queries and keys, held out",
  card="recall",
  arms={"separate, half as wide": NARROW, "shared": SHARED},
  metric="best_loss",
  better="min",
  tiers={
    "small": ONE_HEAD
    | {
      "task.kind": "markov",
      "task.sequences": 64,
      "model.kind": "gpt",
      "model.depth": 2,
      "model.position.kind": "learned",
      "model.position.length": 32,
      "model.feedforward.kind": "relu",
      "model.feedforward.hidden": 64,
      "train.batch": 16,
      "train.steps": 200,
      "eval.every": 20,
    }
  },
  grid=(1e-3, 3e-3, 1e-2),
  x="arm",
)

# Every token names an address, carries a content and asks for the content at another address.
VALUES = Study(
  "shared values",
  card="recall",
  arms={
    name: {"model.tie": tie} for name, tie in (("separate", "none"), ("Q=K", "qk"), ("K=V", "kv"), ("Q=K=V", "qkv"))
  }
  | {"K=V, content is the address": {"model.tie": "kv", "task.same": True}},
  metric="auc",
  tiers={"small": ONE_HEAD | {"task.kind": "lookup", "train.steps": 200, "eval.every": 25}},
  grid=(1e-2, 3e-2, 9e-2),
  x="arm",
)
