"""The content-addressed store of a workdir: trials by the hash of what they are, results written last.

    WORKDIR/plan.json lock  trials/<16 hex>/config.json metrics.jsonl result.json  cohorts/<16 hex>/...

A trial is done when its result.json is there; all else can be lost at any moment and is made again.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments import atomic
from model.errors import Refused

FINISHED = ("done", "diverged", "stalled")  # outcomes; "failed" is tried again by the next command


def number(value: Any) -> Any:
  """A stored number back from JSON: "nan", "inf" and "-inf" become floats, all else stays."""
  return float(value) if value in ("nan", "inf", "-inf") else value


class Store:
  """Reads and writes the trials of one workdir. One process holds the lock; its workers write through it."""

  def __init__(self, root: Path):
    self.root = Path(root)

  def trial(self, key: str) -> Path:
    return self.root / "trials" / key

  def cohort(self, key: str) -> Path:
    return self.root / "cohorts" / key

  def result(self, key: str) -> dict[str, Any] | None:
    """The stored result of a finished trial; None when there is none or when it failed."""
    path = self.trial(key) / "result.json"
    try:
      result = json.loads(path.read_text())
    except FileNotFoundError:
      return None
    except json.JSONDecodeError as error:
      raise Refused(
        f"{path} is not valid JSON ({error}); delete the folder {path.parent} to run the trial again"
      ) from error
    result["measures"] = {name: number(value) for name, value in result["measures"].items()}
    return result if result["status"] in FINISHED else None

  def curve(self, key: str) -> list[dict[str, float]]:
    """The rows of a trial's metrics, as far as they were written whole."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
      for line in (self.trial(key) / "metrics.jsonl").read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a torn last line of a killed run
          rows.append({name: number(value) for name, value in json.loads(line).items()})
    return rows

  def config(self, key: str) -> dict[str, Any]:
    return json.loads((self.trial(key) / "config.json").read_text())

  def begin(self, key: str, config: Mapping[str, Any], rows: list[dict[str, float]]) -> None:
    """Lays out a trial's folder with the rows known so far (none, or those of a checkpoint)."""
    self.trial(key).mkdir(parents=True, exist_ok=True)
    atomic.write_json(self.trial(key) / "config.json", config)
    atomic.write_text(self.trial(key) / "metrics.jsonl", lines(rows))

  def append(self, key: str, rows: list[dict[str, float]]) -> None:
    """Adds rows for whoever watches; `finish` writes them all again, atomically."""
    with (self.trial(key) / "metrics.jsonl").open("a") as file:
      file.write(lines(rows))

  def finish(self, key: str, rows: list[dict[str, float]], result: Mapping[str, Any]) -> None:
    """Writes the whole curve, then the result: the trial is done."""
    atomic.write_text(self.trial(key) / "metrics.jsonl", lines(rows))
    atomic.write_json(self.trial(key) / "result.json", result)

  def abandon(self) -> bool:
    """Removes what a refused command began, unless something is finished; True when nothing is left."""
    if any(self.root.glob("trials/*/result.json")) or any(self.root.glob("calls/*.json")):
      return False
    for folder in ("trials", "cohorts", "calls"):
      shutil.rmtree(self.root / folder, ignore_errors=True)
    (self.root / "plan.json").unlink(missing_ok=True)
    return True

  def forget_cohort(self, key: str) -> None:
    shutil.rmtree(self.cohort(key), ignore_errors=True)


def lines(rows: list[dict[str, float]]) -> str:
  """Rows as JSON lines."""
  return "".join(atomic.canonical(row) + "\n" for row in rows)


@contextlib.contextmanager
def opened(root: Path, identity: Mapping[str, Any]) -> Iterator[Store]:
  """Opens (or makes) a workdir for one command and holds its lock.

  Raises Refused when it cannot be written, is in use, or belongs to another command or config. A command that is
  refused later, by a worker that builds the model, leaves a new workdir as it found it.
  """
  root = Path(root)
  made = not root.exists()
  try:
    root.mkdir(parents=True, exist_ok=True)
    handle = (root / "lock").open("a")
  except OSError as error:
    raise Refused(f"workdir {root} cannot be written ({_why(error)}); choose another with --workdir=") from error
  with handle:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise Refused(
        f"workdir {root} is in use by a running command; wait for it or choose another --workdir="
      ) from error
    fresh = _claim(root, identity)
    try:
      yield Store(root)
    except Refused:
      if fresh and Store(root).abandon() and made:
        (root / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of somebody else came in
          root.rmdir()
      raise


def _claim(root: Path, identity: Mapping[str, Any]) -> bool:
  """Marks the workdir as this command's; False when it was so before."""
  path = root / "plan.json"
  wanted = {"schema": 1, **identity}
  if path.exists():
    try:
      found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
      raise Refused(f"{path} is not valid JSON ({error}); delete it if the folder is yours to use") from error
    if found != json.loads(atomic.canonical(wanted)):
      have = ", ".join(f"{name}={found.get(name)}" for name in identity)
      want = ", ".join(f"{name}={value}" for name, value in identity.items())
      raise Refused(f"workdir {root} belongs to {have}; received {want}: choose another --workdir=")
    return False
  foreign = sorted(entry.name for entry in root.iterdir() if entry.name != "lock")
  if foreign:
    raise Refused(f"workdir {root} holds files of something else ({', '.join(foreign[:3])}); choose another --workdir=")
  atomic.write_json(path, wanted)
  return True


def _why(error: OSError) -> str:
  return {errno.EROFS: "read-only", errno.EACCES: "no permission", errno.ENOSPC: "disk full"}.get(
    error.errno or 0, os.strerror(error.errno or 0)
  )
