"""`assay bench NAME|all`: measurements side by side, in fresh processes, stored as WORKDIR/bench/NAME.json.

A bench is a file of experiments/bench with `measure(progress, *, options)`, which yields what is known so far, and with
`table(document)`; or one whose functions bring the samples of a claim, which are then measured and shown.
"""

import ast
import datetime
import importlib
import inspect
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from configs import slots
from experiments.bench import timing
from experiments.cli import cli
from experiments.record import atomic, digest
from experiments.run.progress import Progress
from model.errors import Refused

COMMON = ("command", "argv", "json", "workdir", "name")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Measures one bench or all, one after the other; ends with 3 when a part of one failed."""
  benches = {name: _bench(name) for name in _chosen(space.name)}
  given = {name: value for name, value in vars(space).items() if name not in COMMON}
  todo = []
  for name, bench in benches.items():
    progress = Progress(f"bench {name}")
    options = _options(name, bench, given, alone=space.name != "all")
    todo.append((name, bench, progress, bench.measure(progress, **options)))
  root = cli.workdir(space.workdir, "bench", space.name)
  documents = []
  for name, bench, progress, found in todo:
    document = _measured(name, found, progress, root / "bench" / f"{name}.json")
    if not space.json:
      _print(bench, document)
    documents.append(document)
  failed = any("failed" in _statuses(row) for document in documents for row in document["rows"])
  return documents[0] if space.name != "all" else {"schema": 1, "items": documents}, 3 if failed else 0


def names() -> list[str]:
  """The benches on disk, read without importing them."""
  return sorted({path.stem for path in _folder().glob("*.py") if _measures(path)} | set(_of_claims()))


def _folder() -> Path:
  return digest.root() / "experiments" / "bench"


def _measures(path: Path) -> bool:
  return any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in ast.parse(path.read_text()).body)


def _of_claims() -> dict[str, list[str]]:
  """Functions that a claim takes its samples from, by file: {"score": ["score.speed"]}."""
  from experiments.protocol import catalog
  from experiments.protocol.claim import Bench

  runs = {claim.experiment.run for claim in catalog.all_claims() if isinstance(claim.experiment, Bench)}
  files = {run.partition(".")[0] for run in runs}
  return {file: sorted(run for run in runs if run.partition(".")[0] == file) for file in files}


def _chosen(name: str | None) -> list[str]:
  known = names()
  if name is None:
    raise Refused(f"bench needs a name; allowed: {', '.join(known)} or all")
  if name not in (*known, "all"):
    raise Refused(f"unknown bench {name!r}: {slots.suggestion(name, known)}allowed: {', '.join(known)} or all")
  return known if name == "all" else [name]


def _bench(name: str) -> Any:
  """The file itself where it has `measure`, else what shows the samples of its claims."""
  if _measures(_folder() / f"{name}.py"):
    return importlib.import_module(f"experiments.bench.{name}")
  return _Samples(_of_claims()[name])


def _options(name: str, bench: Any, given: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
  """What of the flags this bench takes; alone it must take all of them."""
  known = [option for option in inspect.signature(bench.measure).parameters if option != "progress"]
  for option in given:
    if alone and option not in known:
      taken = ", ".join(f"--{one}" for one in known) or "no options"
      raise Refused(f"--{option} means nothing to `assay bench {name}`, which takes {taken}; leave it out")
  return {option: value for option, value in given.items() if option in known}


class _Samples:
  """A bench that belongs to claims: its functions run in a process each, and every sample is a row."""

  def __init__(self, runs: list[str]):
    self.runs = runs

  def measure(self, progress: Progress) -> Iterator[dict[str, Any]]:
    progress.plan(len(self.runs))
    device, rows = {}, []
    for run in self.runs:
      progress.note(run)
      for event in timing.fresh("experiments.bench.timing.sample", {"run": run}):
        if event["event"] == "hello":
          device = device or event["device"]
        else:
          rows += [_sample(run, name, values) for name, values in event["samples"].items()]
          progress.advance(1)
          yield {"device": device, "rows": rows, "notes": []}

  def table(self, document: Mapping[str, Any]):
    from rich.table import Table

    shown = Table(box=None)
    for column in ("function", "sample", "n", "mean"):
      shown.add_column(column)
    for row in document["rows"]:
      low, high = row["ci"]
      shown.add_row(row["run"], row["name"], str(row["n"]), f"{row['mean']:.4g} [{low:.4g}, {high:.4g}]")
    return shown


def _sample(run: str, name: str, values: list[float]) -> dict[str, Any]:
  from experiments.protocol import stats

  low, high, method = stats.interval(values, 0.025)
  mean = sum(values) / len(values)
  return {
    "run": run,
    "name": name,
    "values": values,
    "n": len(values),
    "mean": mean,
    "ci": [low, high],
    "method": method,
  }


def _measured(name: str, found: Iterator[dict[str, Any]], progress: Progress, path: Path) -> dict[str, Any]:
  """The whole document; what is known so far is stored at every step, so that an interruption leaves it."""
  began, document = time.monotonic(), {}
  try:
    with progress:
      for body in found:
        document = _document(name, body, time.monotonic() - began)
        atomic.write_json(path, document)
    document = {**document, "complete": True}
    atomic.write_json(path, document)
  finally:
    if document:
      print(f"{'measured' if document['complete'] else 'measured so far'}: {path}", file=sys.stderr)
  return document


def _document(name: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
  from experiments.record import stamp

  when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  device = {**body["device"], "load_after": timing.load()}
  known = {"schema": 1, "name": name, "complete": False, "versions": stamp.versions()}
  return known | body | {"device": device, "run": {"date": when, "seconds": seconds}}


def _statuses(row: Mapping[str, Any]) -> set[str]:
  return {entry["status"] for entry in row.get("lengths", ())}


def _print(bench: Any, document: Mapping[str, Any]) -> None:
  from experiments.pages import from_runs

  from_runs.show(bench.table(document))
  for note in document["notes"]:
    print(note)
