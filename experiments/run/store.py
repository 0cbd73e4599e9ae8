"""The content-addressed store of a workdir: trials by the hash of what they are, results written last.

    WORKDIR/plan.json lock  trials/<16 hex>/config.json metrics.jsonl result.json  cohorts/<16 hex>/...

A trial is done when its result.json is there; all else can be lost at any moment and is made again. Results and plans
are sealed (`atomic.sealed`), and a result holds its trial's key and the hashes of the files beside it: an edited
digit, a torn file and files of another trial are found, set aside in WORKDIR/damaged, and made again.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.record import atomic
from experiments.record.atomic import Damaged
from model.errors import Refused

FINISHED = ("done", "diverged", "stalled")  # outcomes; "failed" is tried again by the next command
STATUSES = (*FINISHED, "failed")
BESIDE = ("config.json", "metrics.jsonl")  # what a result answers for
FOLDERS = ("trials", "cohorts", "calls", "damaged", "bench", "writers")
OURS = (*FOLDERS, "ledger.jsonl", "report.json", "report.html", "crash.txt")
SHOWN = 3  # of many names
DEFAULT = Path("assay-results")  # where workdirs lie unless one is named


def number(value: Any) -> Any:
  """A stored number back from JSON: "nan", "inf" and "-inf" become floats, all else stays."""
  return float(value) if value in ("nan", "inf", "-inf") else value


class Store:
  """Reads and writes the trials of one workdir. One process holds the lock; its workers write through it."""

  def __init__(self, root: Path):
    self.root = Path(root)
    self.faults: dict[str, Damaged] = {}  # what `result` found damaged, by trial

  def trial(self, key: str) -> Path:
    return self.root / "trials" / key

  def cohort(self, key: str) -> Path:
    return self.root / "cohorts" / key

  def result(self, key: str) -> dict[str, Any] | None:
    """The stored result of a finished trial; None when there is none, when it failed or is damaged (see `faults`)."""
    try:
      result = self.record(key)
    except FileNotFoundError:
      return None
    except Damaged as damage:
      self.faults[key] = damage
      return None
    return result if result["status"] in FINISHED else None

  def record(self, key: str) -> dict[str, Any]:
    """The result of a trial, however it ended, once every file of its folder is proved to be what was written.

    Raises FileNotFoundError where it has none yet, Damaged where something was changed, lost or exchanged.
    """
    result = self._sealed(key)
    for name in BESIDE if result["status"] in FINISHED else ():
      with _lost(name):
        if atomic.sha256(atomic.read_bytes(self.trial(key) / name)) != result["files"].get(name):
          raise Damaged(f"{name} is not the one that belongs to its result")
    return result

  def curve(self, key: str) -> list[dict[str, float]]:
    """The rows of an ended trial's metrics. Raises Damaged when they are not those it was finished with."""
    result = self._sealed(key)
    if result["status"] not in FINISHED:
      return self.written(key)
    with _lost("metrics.jsonl"):
      data = atomic.read_bytes(self.trial(key) / "metrics.jsonl")
    if atomic.sha256(data) != result["files"].get("metrics.jsonl"):
      raise Damaged("metrics.jsonl is not the one that belongs to its result")
    return [_numbers(json.loads(line)) for line in atomic.decoded(data).splitlines()]

  def written(self, key: str) -> list[dict[str, float]]:
    """The rows of a trial that goes on or was given up, as far as they were written whole."""
    rows = []
    with contextlib.suppress(FileNotFoundError, Damaged):
      for line in atomic.decoded(atomic.read_bytes(self.trial(key) / "metrics.jsonl")).splitlines():
        with contextlib.suppress(ValueError, RecursionError):  # a torn last line of a killed run
          row = json.loads(line)
          rows += [_numbers(row)] if isinstance(row, dict) else []
    return rows

  def config(self, key: str) -> dict[str, Any]:
    """The config of a trial. Raises FileNotFoundError, or Damaged for what is none, or not the one of its result."""
    data = atomic.read_bytes(self.trial(key) / "config.json")
    with contextlib.suppress(FileNotFoundError):
      if self._sealed(key)["files"].get("config.json") != atomic.sha256(data):
        raise Damaged("config.json is not the one that belongs to its result")
    try:
      found = json.loads(atomic.decoded(data))
    except (ValueError, RecursionError) as error:
      raise Damaged("config.json is no valid JSON") from error
    if not isinstance(found, dict):
      raise Damaged("config.json is no config")
    return found

  def begin(self, key: str, config: Mapping[str, Any], rows: list[dict[str, float]]) -> None:
    """Lays out a trial's folder with the rows known so far (none, or those of a checkpoint)."""
    self.trial(key).mkdir(parents=True, exist_ok=True)
    for name in BESIDE:
      if (self.trial(key) / name).is_dir():  # no file could take its place
        self.set_aside(self.trial(key) / name)
    atomic.write_json(self.trial(key) / "config.json", config)
    atomic.write_text(self.trial(key) / "metrics.jsonl", lines(rows))

  def append(self, key: str, rows: list[dict[str, float]]) -> None:
    """Adds rows for whoever watches; `finish` writes them all again, atomically."""
    with (self.trial(key) / "metrics.jsonl").open("a") as file:
      file.write(lines(rows))

  def finish(
    self, key: str, config: Mapping[str, Any], rows: list[dict[str, float]], result: Mapping[str, Any]
  ) -> None:
    """Writes config and whole curve, then the result that answers for both: the trial is done."""
    texts = {"config.json": atomic.canonical(config) + "\n", "metrics.jsonl": lines(rows)}
    for name, text in texts.items():
      atomic.write_text(self.trial(key) / name, text)
    files = {name: atomic.sha256(text) for name, text in texts.items()}
    atomic.write_sealed(self.trial(key) / "result.json", {**result, "trial": key, "files": files})

  def fail(self, key: str, config: Mapping[str, Any], cause: str, stamp: Mapping[str, Any] | None = None) -> None:
    """Records that a trial failed, and why; the next command tries it again."""
    self.begin(key, config, self.written(key))
    result = {"schema": 1, "status": "failed", "cause": cause, "steps": 0, "measures": {}, "seconds": 0.0}
    path = self.trial(key) / "result.json"
    atomic.write_sealed(path, {**result, **(stamp or {}), "trial": key, "files": {}})

  def set_aside(self, path: Path) -> Path:
    """Moves what is damaged below WORKDIR/damaged, under its old name and a number, and returns the new place."""
    path, folder = Path(path), self.root / "damaged"
    name = "-".join(path.relative_to(self.root).parts)
    folder.mkdir(exist_ok=True)
    taken = {entry.name for entry in folder.iterdir()}
    free = next(number for number in range(1, len(taken) + 2) if f"{name}.{number}" not in taken)
    os.replace(path, folder / f"{name}.{free}")
    return folder / f"{name}.{free}"

  def heal(self) -> str:
    """Sets the trials in `faults` aside, so that they run again; says so in one line, "" when there are none."""
    faults, self.faults = self.faults, {}
    for key in faults:
      self.set_aside(self.trial(key))
    return told("trials", {f"trials/{key}": damage for key, damage in faults.items()})

  def abandon(self) -> bool:
    """Removes what a refused command began, unless something is finished; True when nothing is left."""
    if any(self.root.glob("trials/*/result.json")) or any(self.root.glob("calls/*.json")):
      return False
    for folder in ("trials", "cohorts", "calls", "writers"):
      shutil.rmtree(self.root / folder, ignore_errors=True)
    (self.root / "plan.json").unlink(missing_ok=True)
    return True

  def forget_cohort(self, key: str) -> None:
    shutil.rmtree(self.cohort(key), ignore_errors=True)

  def _sealed(self, key: str) -> dict[str, Any]:
    """result.json alone: sealed, of this trial, with what every reader relies on."""
    result = atomic.read_sealed(self.trial(key) / "result.json")
    if result.get("trial") != key:
      raise Damaged(f"its result is that of trial {result.get('trial')!r}")
    measures = result.get("measures")
    if result.get("status") not in STATUSES or not isinstance(measures, dict) or "cause" not in result:
      raise Damaged("its result lacks a status, a cause or measures")
    result["measures"] = _numbers(measures)
    if not isinstance(result.get("files"), dict):
      raise Damaged("its result does not say which files belong to it")
    return result


@contextlib.contextmanager
def _lost(name: str):
  """A file that must be there and is not, is damage."""
  try:
    yield
  except FileNotFoundError as error:
    raise Damaged(f"{name} is missing") from error


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
  found = {name: number(value) for name, value in row.items()}
  for name, value in found.items():
    if not isinstance(value, int | float):
      raise Damaged(f"{name} is {value!r:.40}, no number")
  return found


def told(kind: str, faults: Mapping[str, Damaged], then: str = "run again") -> str:
  """One line on damaged files by name, those without a checksum counted apart; "" when there are none."""
  old = [name for name, damage in faults.items() if isinstance(damage, atomic.Unsealed)]
  new = {name: damage for name, damage in faults.items() if name not in old}
  parts = []
  if new:
    shown = ", ".join(f"{name} ({damage})" for name, damage in list(new.items())[:SHOWN])
    more = f" and {len(new) - SHOWN} more {kind}" if len(new) > SHOWN else ""
    parts.append(f"{shown}{more} damaged; {'it' if len(new) == 1 else 'they'} will {then}")
  if old:
    shown = ", ".join(old[:SHOWN]) + (f" and {len(old) - SHOWN} more {kind}" if len(old) > SHOWN else "")
    parts.append(f"{shown} stored without checksums; {'it' if len(old) == 1 else 'they'} will {then}")
  return "; ".join(parts)


def lines(rows: list[dict[str, float]]) -> str:
  """Rows as JSON lines."""
  return "".join(atomic.canonical(row) + "\n" for row in rows)


def place(given: str | Path | None, command: str, name: str) -> Path:
  """The workdir asked for, or ./assay-results/<command>-<name>."""
  text = None if given is None else str(given)
  if text is not None and (not text or "\0" in text):
    raise Refused(f"--workdir={text!r} is not a folder's name; leave it out for ./assay-results")
  return Path(text) if text is not None else DEFAULT / f"{command}-{Path(name).stem}"


@contextlib.contextmanager
def opened(root: Path, identity: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Iterator[Store]:
  """Opens (or makes) a workdir for one command and holds its lock.

  identity: {"command": ..., what it is about: ...}; a workdir belongs to one of them and grows under it. `config` is
  that of the one trial named in the identity, if there is one, to tell what differs from what is there.
  Raises Refused when the workdir cannot be written, is in use, or belongs to another command or config. A command that
  is refused, here or later by a worker that builds the model, leaves the place as it found it.
  """
  root = Path(root)
  with _locked(root) as fresh_lock:
    try:
      fresh = _claim(root, identity, config)
    except BaseException:
      fresh_lock.give_up()
      raise
    try:
      yield Store(root)
    except Refused:
      if fresh and Store(root).abandon():
        fresh_lock.give_up()
      raise


class _Place:
  """What was there before the command: which folders it made, and whether the lock is new."""

  def __init__(self, root: Path):
    self.root = root
    self.made = [folder for folder in (root, *root.parents) if not folder.exists()]
    self.locked = os.path.lexists(root / "lock")

  def give_up(self) -> None:
    """Removes the lock and the folders that the command made, where nothing else lies in them."""
    with contextlib.suppress(OSError):
      if not self.locked:
        (self.root / "lock").unlink()
      for folder in self.made:  # the innermost first
        folder.rmdir()


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[_Place]:
  place = _Place(root)
  try:
    root.mkdir(parents=True, exist_ok=True)
    handle = _lock(root)
  except OSError as error:
    place.give_up()
    raise Refused(f"workdir {root} cannot be written ({_why(error)}); choose another with --workdir=") from error
  with handle:
    yield place


def _lock(root: Path):
  """The locked file. Whoever gives a workdir up removes its lock: then the one that was opened is no longer there."""
  while True:
    handle = (root / "lock").open("a")
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
      with contextlib.suppress(FileNotFoundError):  # removed by its holder: it is made anew
        if os.fstat(handle.fileno()).st_ino == os.stat(root / "lock").st_ino:
          return handle
    except OSError as error:
      handle.close()
      raise Refused(
        f"workdir {root} is in use by a running command; wait for it or choose another --workdir="
      ) from error
    handle.close()


@contextlib.contextmanager
def held(root: Path) -> Iterator[Store]:
  """An existing workdir, whatever made it, locked while `assay check` looks at it."""
  place = _Place(root)
  try:
    handle = _lock(root)
  except OSError as error:
    raise Refused(f"workdir {root} cannot be locked ({_why(error)}); see to its permissions") from error
  with handle:
    try:
      yield Store(root)
    finally:
      place.give_up()


def report(root: Path) -> dict[str, Any]:
  """The data of a workdir's report, once data and page are proved to be what was written, and of one another.

  Raises FileNotFoundError where one of them is missing, Damaged where one was changed.
  """
  held = atomic.read_sealed(root / "report.json")
  try:
    page = atomic.sha256(atomic.read_bytes(root / "report.html"))
  except atomic.Damaged as damage:
    raise atomic.Damaged(f"report.html: {damage}") from damage
  if page != held.get("page"):
    raise atomic.Damaged("report.html is not the page that was drawn")
  return held


def plan(root: Path) -> dict[str, Any] | None:
  """What a workdir belongs to; None where no command has claimed it. Raises Damaged."""
  if not root.is_dir():  # a file given as a workdir is none, and nothing of it is damaged
    return None
  try:
    return atomic.read_sealed(root / "plan.json")
  except FileNotFoundError:
    return None


def _claim(root: Path, identity: Mapping[str, Any], config: Mapping[str, Any] | None) -> bool:
  """Marks the workdir as this command's; False when something of it was there before.

  A damaged plan is made again: trials are found by what they are, so that no other command can take them for its own.
  """
  wanted = json.loads(atomic.canonical({"schema": 1, **identity}))
  there = sorted(entry.name for entry in root.iterdir() if entry.name != "lock")
  foreign = [name for name in there if name not in OURS]
  try:
    found = plan(root)
  except Damaged as damage:
    print(f"warning: {told('files', {f'{root}/plan.json': damage}, 'be made again')}", file=sys.stderr)
    found = _old_plan(root, wanted) if isinstance(damage, atomic.Unsealed) else remembered(root)
    found = found or _only_trial(root, wanted) or wanted
    Store(root).set_aside(root / "plan.json")
    atomic.write_sealed(root / "plan.json", found)
  if found is None and foreign:
    raise Refused(f"workdir {root} holds files of something else ({_few(foreign)}); choose another --workdir=")
  if found is None and there:  # its plan was lost
    found = remembered(root) or _only_trial(root, wanted)
  differing = [name for name in wanted if found is not None and found.get(name) != wanted[name]]
  if found is not None and differing == ["trial"] and config is not None and _only_data(root, found, config):
    print(f"warning: data of {root} changed since: trained again, what was trained before is kept", file=sys.stderr)
    atomic.write_sealed(root / "plan.json", wanted)
    differing = []
  if differing:
    raise Refused(f"workdir {root} {_difference(root, found, wanted, differing, config)}; choose another --workdir=")
  if "plan.json" not in there:
    atomic.write_sealed(root / "plan.json", wanted)
  _remember(root, wanted)
  _make_way(root)
  return not there


def _remember(root: Path, identity: Mapping[str, Any]) -> None:
  """Keeps a copy of the plan in the lock, which can replace it."""
  text = atomic.canonical(atomic.sealed(identity)) + "\n"
  try:
    same = atomic.read_bytes(root / "lock") == text.encode()
  except Damaged:
    return  # whatever lies there could be locked, and is no place to write to
  if not same:
    (root / "lock").write_text(text, encoding="utf-8")  # the same file, for who waits for the lock


def remembered(root: Path) -> dict[str, Any] | None:
  """The copy of a workdir's plan, where it is whole."""
  with contextlib.suppress(Damaged, FileNotFoundError):
    return atomic.read_sealed(root / "lock")
  return None


def _old_plan(root: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
  """What an unsealed plan says of the keys that matter today; None for what says nothing that can be relied on."""
  with contextlib.suppress(Damaged, FileNotFoundError, ValueError, RecursionError):
    found = json.loads(atomic.decoded(atomic.read_bytes(root / "plan.json")))
    if isinstance(found, dict) and isinstance(found.get("command"), str):
      return {name: found.get(name, value) for name, value in wanted.items()}
  return None


def _only_trial(root: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
  """The plan of `assay train` as its one trial tells it; None for another command, or where nothing is stored."""
  stored = sorted(path.parent.name for path in root.glob("trials/*/result.json"))
  return {**wanted, "trial": stored[0]} if "trial" in wanted and stored and wanted["trial"] not in stored else None


def _make_way(root: Path) -> None:
  """Moves away what is no folder where a folder of ours belongs."""
  for name in ("trials", "cohorts", "calls"):
    if os.path.lexists(root / name) and not (root / name).is_dir():
      Store(root).set_aside(root / name)


def _difference(root: Path, found, wanted, differing: list[str], config: Mapping[str, Any] | None) -> str:
  """Whose the workdir is, and the keys in which the command differs."""
  whose = f"belongs to `assay {found.get('command')}`" + (f" on card {found['card']}" if "card" in found else "")
  if differing == ["trial"] and config is not None:
    changed = _changed(root, str(found.get("trial")), config)
    return f"{whose} with {changed}" if changed else f"{whose} of another config or other data"
  received = f"`assay {wanted['command']}`" if "command" in differing else f"card {wanted.get('card')}"
  return f"{whose}; received {received}"


def _only_data(root: Path, found: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
  """Whether the trial of a plan has this very config, finished, so that only the data it reads can be others."""
  with contextlib.suppress(Damaged, OSError):
    key = str(found.get("trial"))
    return Store(root).result(key) is not None and _flat(Store(root).config(key)) == _flat(
      json.loads(atomic.canonical(config))
    )
  return False


def _changed(root: Path, key: str, config: Mapping[str, Any]) -> str:
  """The keys in which two configs differ: "optim.lr=0.01; received optim.lr=0.02"; "" where there is none to tell."""
  try:
    there, here = _flat(Store(root).config(key)), _flat(json.loads(atomic.canonical(config)))
  except (Damaged, OSError):
    return ""
  names = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
  if not names:
    return ""
  sides = (", ".join(f"{name}={side.get(name, 'absent')}" for name in names[:SHOWN]) for side in (there, here))
  more = f" (and {len(names) - SHOWN} more keys)" if len(names) > SHOWN else ""
  return "; received ".join(sides) + more


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  found: dict[str, Any] = {}
  for name, value in tree.items():
    found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
  return found


def _few(names: list[str]) -> str:
  return ", ".join(names[:SHOWN])


def _why(error: OSError) -> str:
  return {errno.EROFS: "read-only", errno.EACCES: "no permission", errno.ENOSPC: "disk full"}.get(
    error.errno or 0, os.strerror(error.errno or 0)
  )
