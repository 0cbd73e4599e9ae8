"""Writes the resolved configurations that the script reads: `python -m experiments.bench.gpu.prepare FOLDER`.

This is the one file here that imports `configs`. A file written by it is a complete config.json; another one, of a
stored run for example, may stand in its place.
"""

import sys
from pathlib import Path
from typing import Any

from experiments.bench.gpu import parts
from experiments.record import atomic

# A pack as the protocol trains them: a small encoder that recalls.
MEMBERS = {"model.depth": 2, "train.steps": 400, "eval.every": 20, "eval.batches": 1, "train.batch": 32}
# 32768 tokens per step in rows of 1024, four layers of width 512 and eight heads, as in RNN-6a.
STEP = {
  "model.kind": "gpt",
  "model.width": 512,
  "model.heads": 8,
  "model.depth": 4,
  "model.position.kind": "sinusoidal",
  "model.feedforward.kind": "gelu",
  "model.feedforward.hidden": 2048,
  "task.kind": "markov",
  "task.states": 256,
  "task.length": 1024,
  "optim.lr": 1e-3,
  "train.batch": 32,
  "train.steps": 1000,
  "eval.every": 10,
}
TINY = {
  "members": {"model.width": 16, "model.depth": 1, "model.feedforward.hidden": 16, "train.batch": 8, "eval.every": 5},
  "step": {
    "model.width": 32,
    "model.heads": 2,
    "model.depth": 1,
    "model.feedforward.hidden": 64,
    "task.states": 16,
    "task.length": 32,
    "train.batch": 4,
    "eval.every": 5,
  },
}
CARD = "recall"


def main(argv: list[str]) -> int:
  """Writes FOLDER/full and FOLDER/tiny."""
  if len(argv) != 1 or argv[0].startswith("-"):
    print(
      f"prepare takes one folder, such as assay-results/gpu/inputs; got {' '.join(argv) or 'none'}", file=sys.stderr
    )
    return 2
  for path, config in resolved(Path(argv[0])).items():
    atomic.write_json(path, config, indent=1)
    print(f"written: {path}")
  return 0


def resolved(folder: Path) -> dict[Path, dict[str, Any]]:
  """Every file with its configuration."""
  from configs import override

  return {
    parts.path_of(folder, name, tiny=tiny): override.resolve(
      override.load(CARD, options | (TINY[name] if tiny else {}))
    )
    for name, options in (("members", MEMBERS), ("step", STEP))
    for tiny in (False, True)
  }


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
