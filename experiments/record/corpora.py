"""Which data files a config reads, by their hashes; part of every trial's key. The parent stays free of jax.

A task says what it reads in four ways (train/tasks/task.py): `needs` and `files` are literals of its class, an option
whose value is the path of a file is one, and a method `data_sha256` is asked in a process of its own, since it takes
the built task. The worker compares all of it with the task that it builds.
"""

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs import slots, source
from model.errors import Refused

INTERFACE = "train/tasks/task.py"  # what every task is built on; its `data_sha256` says that nothing is read


def hashes(config: Mapping[str, Any], said: Mapping[str, str] | None = None) -> dict[str, str]:
  """sha256 by name of the data that the config's task reads; the worker verifies the files when it reads them.

  `said` is what the built task's own `data_sha256` returned, where it is known already.
  """
  kind = config["task"]["kind"]
  found = _of_packages(kind) | {name: _sha256(path) for name, path in _files(config).items()}
  if said is None and _must_be_asked(kind):
    said = _asked(config["task"])
  return found | dict(said or {})


def _asked(task: Mapping[str, Any]) -> dict[str, str]:
  from experiments.record import declared  # few tasks must be asked

  _ends.add(declared.forget)
  return declared.ask(task)


_ends: set[Callable[[], None]] = set()  # what ends the process that was asked; empty where none was


def forget() -> None:
  """Ends what one command knows of tasks: the next one asks them again."""
  for end in _ends:
    end()


@functools.lru_cache(maxsize=64)
def _of_packages(kind: str) -> dict[str, str]:
  """The hash of every package that a task needs; nobody writes into it."""
  return {name: importlib.import_module(f"train.corpora.{name}").SHA256 for name in _needs(kind)}


def files(config: Mapping[str, Any]) -> set[str]:
  """The files whose hashes are part of the trial's key, by their absolute paths."""
  return {str(path) for path in _files(config).values()}


def sha256_of(path: str | Path) -> str | None:
  """The hash of a file's content, None where there is none to read."""
  try:
    return _sha256(Path(path))
  except Refused:
    return None


def present(config: Mapping[str, Any]) -> None:
  """Raises Refused when a package or a file that the config's task needs is not there."""
  for name in _needs(config["task"]["kind"]):
    from train.corpora import package  # most tasks need none

    package.find(importlib.import_module(f"train.corpora.{name}").PACKAGE)
  hashes(config)


def _needs(kind: str) -> tuple[str, ...]:
  return _literal(kind, "needs")


def _files(config: Mapping[str, Any]) -> dict[str, Path]:
  """What a config's task reads, by name: the `files` of its class from where the class lies, then its options."""
  options = ((f"task.{name}", named(value)) for name, value in config["task"].items() if name != "kind")
  return _own_files(config["task"]["kind"]) | {name: path for name, path in options if path is not None}


@functools.lru_cache(maxsize=64)
def _own_files(kind: str) -> dict[str, Path]:
  names = _literal(kind, "files")
  folder = slots.class_of("tasks", kind).path.parent
  return {f"files: {name}": (folder / name).resolve() for name in names}


def named(value: object) -> Path | None:
  """The absolute path of a file that an option names; None for any other value.

  A name without a folder or an ending is a word, whatever lies in the current folder.
  """
  if not isinstance(value, str) or not ("/" in value or "." in value):
    return None
  return slots.existing(value)


def _literal(kind: str, name: str) -> tuple[str, ...]:
  """A tuple of texts that a task's class states as a literal. Raises Refused where it is something else."""
  values = _attributes(kind).get(name, ())
  if not isinstance(values, tuple | list) or not all(isinstance(value, str) for value in values):
    raise Refused(f'task.kind={kind}: {name}={values!r} is no tuple of texts; write {name} = ("one",)')
  if name == "needs":
    for value in values:
      if not value.isidentifier() or slots.existing(slots.ROOT / "train" / "corpora" / f"{value}.py") is None:
        raise Refused(f"task.kind={kind}: needs names {value!r}, which is no file of train/corpora; use files = (...)")
  return tuple(values)


@functools.lru_cache(maxsize=64)
def _attributes(kind: str) -> Mapping[str, Any]:
  """Literal attributes of a task's class, its own before those of the classes it is built on."""
  found: dict[str, Any] = {}
  for one in _chain(kind)[0]:
    found = slots._attributes(one.node) | found
  return found


@functools.lru_cache(maxsize=64)
def _must_be_asked(kind: str) -> bool:
  """Whether the built task alone can tell its data: it has a `data_sha256` that `needs` does not explain."""
  chain, whole = _chain(kind)
  below = [one for one in chain if one.path != slots.ROOT / INTERFACE]
  defined = any("data_sha256" in source.methods(one.node) for one in below)
  return (defined or not whole) and (":" in kind or not _needs(kind))


def _chain(kind: str) -> tuple[list[source.Found], bool]:
  return source.chain(slots.class_of("tasks", kind))


def _sha256(path: Path) -> str:
  try:
    stat = path.stat()
    return _hash(path, stat.st_mtime_ns, stat.st_size)
  except OSError as error:
    raise Refused(f"data file {path} cannot be read ({error.strerror}); put it there, or name another") from None


@functools.lru_cache(maxsize=1024)
def _hash(path: Path, changed: int, size: int) -> str:
  """Remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
