"""Checks and benches: functions that a worker runs, their samples stored under the hash of the code behind them.

One is named "module.function", or with numbers and texts as arguments: "module.function(first=0, count=25)".
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from configs import slots
from experiments.protocol.claim import Bench, Check
from experiments.record import atomic, digest
from experiments.run.cohorts import hash_of
from experiments.run.runner import Runner
from experiments.run.store import number, told

PREFIX = {Check: "experiments.claims", Bench: "experiments.bench"}
WITHIN = ("model", "train", "experiments")
STATED = r"experiments/claims/[a-z0-9]+/__init__\.py"  # what claims say is not what their checks do

Samples = dict[str, list[float]]
Tell = Callable[[str, Samples], None]


def files(evidence: Check | Bench) -> list[str]:
  """The files that the function's result depends on, relative to the repository."""
  module = evidence.run.partition("(")[0].rsplit(".", 1)[0].replace(".", "/")
  return list(_files(f"{PREFIX[type(evidence)].replace('.', '/')}/{module}.py"))


@functools.lru_cache(maxsize=256)
def _files(start: str) -> tuple[str, ...]:
  """One command never sees its own code change."""
  return _with_kinds(tuple(digest.closure([start], within=WITHIN, without=STATED)))


def _with_kinds(found: tuple[str, ...]) -> tuple[str, ...]:
  """The files, and those of every kind whose name stands in one of them as a text: kinds are loaded by name."""
  words = set().union(*(digest.words(path) for path in found))
  kinds = [path for path, word in _kinds().items() if word in words and path not in found]
  return _with_kinds(tuple(digest.closure([*found, *kinds], within=WITHIN, without=STATED))) if kinds else found


@functools.cache
def _kinds() -> dict[str, str]:
  """The kind that each file of a slot holds."""
  return {f"{folder}/{kind}.py": kind for family, folder in slots.FOLDERS.items() for kind in slots.kinds(family)}


def key(evidence: Check | Bench) -> str:
  """16 hex digits of the function's name and code."""
  return hash_of({"run": evidence.run, "code": digest.code_sha256(files(evidence))})[:16]


def run(evidence: Sequence[Check | Bench], runner: Runner, tell: Tell | None = None) -> dict[str, Samples]:
  """Samples by function name; what is stored is not run again. Benches run one by one, after the checks.

  `tell` gets a function's name and samples as they come, those that are stored first.
  """
  unique = {item.run: item for item in evidence}
  found, damaged = _whole(runner.store.root, unique)
  if tell:
    for name, samples in list(found.items()):
      tell(name, samples)
  if damaged:
    for name in damaged:
      runner.store.set_aside(runner.store.root / name)
    runner.progress.warn(told("calls", damaged))

  def keep(name: str, samples: Samples) -> None:
    found[name] = dict(sorted(samples.items()))  # the order in which they will be read back
    path = _path(runner.store.root, unique[name])
    atomic.write_sealed(path, {"schema": 1, "run": name, "call": path.stem, "samples": samples})
    if tell:
      tell(name, found[name])

  for kind in (Check, Bench):
    missing = [item for name, item in unique.items() if name not in found and isinstance(item, kind)]
    groups = [missing] if kind is Check else [[item] for item in missing]  # a bench must not share the machine
    for group in groups:
      runner.calls([(PREFIX[kind], item.run) for item in group], keep)
  return found


def _path(root: Path, evidence: Check | Bench) -> Path:
  return root / "calls" / f"{key(evidence)}.json"


def _whole(root: Path, unique: Mapping[str, Check | Bench]) -> tuple[dict[str, Samples], dict[str, atomic.Damaged]]:
  """What is stored, by function name, and what is damaged, by its path below the workdir."""
  found, damaged = {}, {}
  for name, item in unique.items():
    path = _path(root, item)
    try:
      found[name] = stored(path, name)
    except FileNotFoundError:
      continue
    except atomic.Damaged as damage:
      damaged[str(path.relative_to(root))] = damage
  return found, damaged


def stored(path: Path, name: str | None = None) -> Samples:
  """Samples of the call in this file, which must be that of `name` where one is given. Raises Damaged."""
  held = atomic.read_sealed(path)
  if held.get("call") != path.stem or held.get("run") != (name or held.get("run")):
    raise atomic.Damaged(f"it is the call of {held.get('run')}, {held.get('call')}")
  try:
    return {key: [float(number(value)) for value in values] for key, values in held["samples"].items()}
  except (KeyError, ValueError, TypeError, AttributeError) as error:
    raise atomic.Damaged("its samples are no lists of numbers") from error
