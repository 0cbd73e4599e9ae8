"""A config that compiles in seconds and trains in milliseconds."""

from configs import override

TINY = {
  "task.pairs": 3,
  "task.keys": 4,
  "task.values": 4,
  "task.queries": 2,
  "task.relations": 1,
  "model.width": 8,
  "model.heads": 1,
  "model.feedforward.kind": "none",
  "train.steps": 8,
  "train.batch": 8,
  "eval.every": 2,
  "eval.batches": 1,
  "eval.batch": 8,
}


def tiny(**more):
  """The recall card made tiny; keywords spell dotted keys with two underscores (optim__lr=.1)."""
  dotted = {name.replace("__", "."): value for name, value in more.items()}
  return override.resolve(override.load("recall", TINY | dotted))
