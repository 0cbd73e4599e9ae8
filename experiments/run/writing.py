"""Hands ended trials to writers (experiments/run/writers), each once; what a writer cannot do costs no result.

A writer is named by its file ("tensorboard", "wandb"), as ./mine.py:Mine, or is an object of a subclass of Writer.
"""

import collections
import dataclasses
import importlib
import inspect
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from configs import slots, userfile
from experiments.record import atomic
from experiments.run.store import Store
from experiments.run.writers.writer import Trial, Writer
from model.errors import Refused

FOLDER = Path(__file__).parent / "writers"
GIVES_UP = 3  # failures in a row after which a writer is asked no more in this command

Given = str | Writer
Warn = Callable[[str], None]


def kinds() -> list[str]:
  """The writers on disk."""
  return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "writer"))


def chosen(given: Given | Iterable[Given]) -> dict[str, Writer]:
  """The writers by the names of their folders. Raises Refused for what is none, or lacks its package."""
  found: dict[str, Writer] = {}
  for one in [given] if isinstance(given, Given) or not isinstance(given, Iterable) else given:
    if not isinstance(one, Given):
      raise Refused(f"--writer={one!r}; allowed: {', '.join(kinds())}, path/to/mine.py:Mine, or an object of a Writer")
    name, writer = (type(one).__name__, one) if isinstance(one, Writer) else _named(one)
    if name in found:
      raise Refused(f"--writer={name} is given twice; name each once")
    found[name] = writer
  return found


def _named(text: str) -> tuple[str, Writer]:
  if ":" in text:
    return _own(text)
  if text not in kinds():
    hint = slots.suggestion(text, kinds())
    raise Refused(f"--writer={text} is unknown: {hint}allowed: {', '.join(kinds())} or path/to/mine.py:Mine")
  module = importlib.import_module(f"experiments.run.writers.{text}")
  (cls,) = (c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Writer) and c is not Writer)
  return text, cls()


def _own(text: str) -> tuple[str, Writer]:
  """The user's class of ./mine.py:Mine; its folder is named mine.Mine."""
  file, _, name = text.rpartition(":")
  path, asked = slots.existing(file), f"--writer={text}"
  if path is None or path.suffix != ".py":
    raise Refused(f"{asked}: there is no file {file}; write path/to/mine.py:Mine")
  module = userfile.run(path, f"user_writer_{zlib.crc32(str(path).encode()):08x}", asked)
  cls = getattr(module, name, None)
  if not inspect.isclass(cls) or not issubclass(cls, Writer) or inspect.isabstract(cls):
    raise Refused(
      f"{asked}: {file} has no writer {name!r}; define a subclass of experiments.run.writers.writer.Writer with write"
    )
  made: Callable[[], Writer] = cls
  writer = userfile.call(made, path, asked)
  writer.origin = str(path)
  return f"{path.stem}.{name}", writer


class Writing:
  """Gives the trials of one workdir to its writers."""

  def __init__(self, writers: Mapping[str, Writer], store: Store, warn: Warn):
    self.writers, self.store, self.warn = writers, store, warn
    self.in_a_row: collections.Counter[str] = collections.Counter()  # failures of a writer since it last succeeded
    self.missed: collections.Counter[str] = collections.Counter()

  def take(self, configs: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> None:
    """Has these ended trials written that are not; `configs` holds theirs, and perhaps others'."""
    for key, result in results.items():
      for name in self.writers:
        self._offer(name, key, configs[key], result)

  def end(self) -> None:
    """Tells what was not written."""
    for name, count in self.missed.items():
      trials = "1 trial is" if count == 1 else f"{count} trials are"
      self.warn(f"{trials} not written by {name}; their results are stored, and the same command writes them")

  def _trial(self, key: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> Trial:
    told = {name: result[name] for name in ("status", "cause", "steps", "measures", "seconds")}
    return Trial(self.store.root, key, config, self.store.curve(key), stale=bool(result.get("stale")), **told)

  def _offer(self, name: str, key: str, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    folder = self.store.root / "writers" / name / key
    try:
      trial = self._trial(key, config, result)
      mark = {"schema": 1, "trial_sha256": _digest(trial), "writer": self.writers[name].origin}
      if _mark(folder) == mark:
        return
      if self.in_a_row[name] >= GIVES_UP:
        self.missed[name] += 1
        return
      self._write(name, trial, folder)
      atomic.write_sealed(folder / "written.json", mark)
      self.in_a_row[name] = 0
    except (Exception, SystemExit) as error:  # whatever it is, results are worth more than how they are shown
      self._failed(name, key, error)

  def _write(self, name: str, trial: Trial, folder: Path) -> None:
    if folder.exists():  # of a result that is no longer the trial's, or torn off
      shutil.rmtree(folder)
    folder.mkdir(parents=True)
    self.writers[name].write(trial, folder)

  def _failed(self, name: str, key: str, error: BaseException) -> None:
    self.missed[name] += 1
    self.in_a_row[name] += 1
    why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    then = "it is asked no more" if self.in_a_row[name] >= GIVES_UP else "the run goes on"
    self.warn(f"writer {name} could not write trial {key} ({why}); {then}")


def _digest(trial: Trial) -> str:
  """Of all that a writer gets, but for the place."""
  told = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial) if field.name != "workdir"}
  return atomic.sha256(atomic.canonical(told))


def _mark(folder: Path) -> dict[str, Any] | None:
  """What was written into the folder last, and whole."""
  try:
    return atomic.read_sealed(folder / "written.json")
  except (FileNotFoundError, atomic.Damaged):
    return None
