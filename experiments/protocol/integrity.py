"""Every file of a workdir against what was written: what `assay check` finds, and how it mends it.

What is made again by the commands themselves (a damaged trial, call or page) is set aside in WORKDIR/damaged; the next
command then finds it missing and runs it. Nothing is deleted, and nothing whole is touched.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.ledger import ledger
from experiments.protocol import calls
from experiments.record import atomic
from experiments.record.atomic import Damaged
from experiments.run import store
from experiments.run.cohorts import trial_key
from train import manifest

KEY = re.compile(r"[0-9a-f]{16}")
NAMES = ("plan.json", "lock", *store.OURS)
FAULTS = ("damaged", "missing")  # what a workdir that is whole has none of


class Finding(NamedTuple):
  """One thing that is not as a command leaves it."""

  kind: str  # damaged, missing, orphaned (left over by what was killed) or foreign
  path: str  # below the workdir
  what: str
  aside: str = ""  # the file or folder to set aside, where that mends it


def findings(root: Path) -> list[Finding]:
  """All findings, in the order of the files."""
  parts = (_plan(root), _pages(root), _ledger(root), _calls(root), _trials(root), _cohorts(root), _others(root))
  return [finding for part in parts for finding in part]


def repair(held: store.Store, findings: list[Finding]) -> list[str]:
  """Sets damaged and orphaned things aside, makes the plan and the ledger anew from what is whole; names them."""
  rows = ledger.salvage(held.root / "ledger.jsonl")[0]
  identity = store.remembered(held.root)
  done = []
  for path in dict.fromkeys(finding.aside for finding in findings if finding.aside):
    if os.path.lexists(held.root / path):
      held.set_aside(held.root / path)
      done.append(path)
  if "ledger.jsonl" in done and rows:
    ledger.write(held.root / "ledger.jsonl", rows)
  if identity and not (held.root / "plan.json").exists():
    atomic.write_sealed(held.root / "plan.json", identity)
    done.append("plan.json")
  return list(dict.fromkeys(done))


def count(root: Path) -> dict[str, int]:
  """How many trials, calls and rows a workdir holds."""
  rows = ledger.salvage(root / "ledger.jsonl")[0]
  return {
    "trials": len(list(root.glob("trials/*/result.json"))),
    "calls": len(list(root.glob("calls/*.json"))),
    "rows": len(rows),
  }


def _plan(root: Path) -> Iterator[Finding]:
  try:
    if store.plan(root) is None:
      yield Finding("missing", "plan.json", "which command the folder belongs to; the next one claims it")
    elif store.remembered(root) != store.plan(root):
      yield Finding("orphaned", "lock", "it holds no copy of the plan; the next command writes one")
  except Damaged as damage:
    yield Finding("damaged", "plan.json", str(damage), "plan.json")


def _pages(root: Path) -> Iterator[Finding]:
  if not any(os.path.lexists(root / name) for name in ("report.json", "report.html")):
    return
  try:
    store.report(root)
  except FileNotFoundError as error:
    yield Finding("missing", Path(error.filename or "").name or "report.html", "the other half of the report is there")
  except Damaged as damage:
    name = "report.html" if "report.html" in str(damage) else "report.json"
    yield Finding("damaged", name, str(damage), name)


def _ledger(root: Path) -> Iterator[Finding]:
  for line, damage in ledger.salvage(root / "ledger.jsonl")[1].items():
    yield Finding("damaged", f"ledger.jsonl:{line}", str(damage), "ledger.jsonl")


def _calls(root: Path) -> Iterator[Finding]:
  for path in _entries(root / "calls"):
    name = f"calls/{path.name}"
    if path.name.endswith(".part"):
      continue
    if not KEY.fullmatch(path.stem) or path.suffix != ".json":
      yield Finding("foreign", name, "no call of ours")
      continue
    try:
      calls.stored(path)
    except (Damaged, FileNotFoundError) as damage:
      yield Finding("damaged", name, str(damage), name)


def _trials(root: Path) -> Iterator[Finding]:
  held = store.Store(root)
  for path in _entries(root / "trials"):
    name = f"trials/{path.name}"
    if not KEY.fullmatch(path.name):
      yield Finding("foreign", name, "no trial of ours")
      continue
    try:
      record = held.record(path.name)
      config = held.config(path.name)
    except FileNotFoundError:
      if not path.is_dir() or (path / "result.json").exists():
        yield Finding("damaged", name, "it lacks its config", name)
      continue  # one that was begun: the next command goes on with it
    except Damaged as damage:
      yield Finding("damaged", name, str(damage), name)
      continue
    if "data_sha256" in record and trial_key(config, record["data_sha256"]) != path.name:
      yield Finding("orphaned", name, "its key is that of another version; no command asks for it any more")
    for other in sorted(entry.name for entry in path.iterdir()):
      if other not in (*store.BESIDE, "result.json") and not other.endswith(".part"):
        yield Finding("foreign", f"{name}/{other}", "no file of a trial")


def _cohorts(root: Path) -> Iterator[Finding]:
  for path in _entries(root / "cohorts"):
    name = f"cohorts/{path.name}"
    if not KEY.fullmatch(path.name):
      yield Finding("foreign", name, "no cohort of ours")
      continue
    try:
      members = atomic.read_sealed(path / "members.json")
      if not any((root / "trials" / str(key)).is_dir() for key in members.get("trials", ())):
        yield Finding("orphaned", name, "none of its trials is there", name)
        continue
    except FileNotFoundError:
      yield Finding("orphaned", name, "it does not say whose it is", name)
      continue
    except Damaged as damage:
      yield Finding("damaged", f"{name}/members.json", str(damage), f"{name}/members.json")
    yield from _checkpoints(path / "checkpoints", f"{name}/checkpoints")


def _checkpoints(folder: Path, name: str) -> Iterator[Finding]:
  for path in _entries(folder):
    if not path.name.isdigit():
      yield Finding("orphaned", f"{name}/{path.name}", "a save that did not end", f"{name}/{path.name}")
      continue
    try:
      manifest.opened(path)
    except manifest.Damaged as damage:
      what = str(damage).replace(f"{path}/", "")
      yield Finding("damaged", f"{name}/{path.name}", what, f"{name}/{path.name}")


def _others(root: Path) -> Iterator[Finding]:
  for path in _entries(root):
    if path.name not in NAMES and not path.name.endswith(".part"):
      yield Finding("foreign", path.name, "no command of ours writes it")
  for folder in (root, root / "calls", *_entries(root / "trials"), *_entries(root / "cohorts")):
    for path in _entries(folder):
      if path.name.startswith(".") and path.name.endswith(".part"):
        name = path.relative_to(root).as_posix()
        yield Finding("orphaned", name, "a write that did not end", name)


def _entries(folder: Path) -> list[Path]:
  return sorted(folder.iterdir()) if folder.is_dir() else []
