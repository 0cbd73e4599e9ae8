"""Checks and benches: functions that a worker runs, their samples stored under the hash of the code behind them."""

import json
from collections.abc import Sequence
from pathlib import Path

from experiments import atomic, digest
from experiments.claim import Bench, Check
from experiments.cohorts import digest as hash_of
from experiments.runner import Runner
from experiments.store import number

PREFIX = {Check: "experiments.checks", Bench: "experiments.bench"}
WITHIN = ("model", "train", "experiments")

Samples = dict[str, list[float]]


def files(evidence: Check | Bench) -> list[str]:
  """The files that the function's result depends on, relative to the repository."""
  module = evidence.run.rsplit(".", 1)[0].replace(".", "/")
  start = f"{PREFIX[type(evidence)].replace('.', '/')}/{module}.py"
  return digest.closure([start], within=WITHIN)


def key(evidence: Check | Bench) -> str:
  """16 hex digits of the function's name and code."""
  return hash_of({"run": evidence.run, "code": digest.code_sha256(files(evidence))})[:16]


def run(evidence: Sequence[Check | Bench], runner: Runner) -> dict[str, Samples]:
  """Samples by function name; what is stored is not run again. Benches run one by one, after the checks."""
  unique = {item.run: item for item in evidence}
  found = {name: samples for name, item in unique.items() if (samples := _stored(runner.store.root, item)) is not None}
  for kind in (Check, Bench):
    missing = [item for name, item in unique.items() if name not in found and isinstance(item, kind)]
    groups = [missing] if kind is Check else [[item] for item in missing]  # a bench must not share the machine
    for group in groups:
      for name, samples in runner.calls([(PREFIX[kind], item.run) for item in group]).items():
        found[name] = samples
        atomic.write_json(_path(runner.store.root, unique[name]), {"schema": 1, "run": name, "samples": samples})
  return found


def _path(root: Path, evidence: Check | Bench) -> Path:
  return root / "calls" / f"{key(evidence)}.json"


def _stored(root: Path, evidence: Check | Bench) -> Samples | None:
  path = _path(root, evidence)
  if not path.exists():
    return None
  samples = json.loads(path.read_text())["samples"]
  return {name: [float(number(value)) for value in values] for name, values in samples.items()}
