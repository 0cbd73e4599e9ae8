"""Which code produced a result: a digest of the syntax trees of the files that a config uses.

Comments, docstrings and formatting do not count; every other change does.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments import sources

STARTS = ("train/loop.py", "train/step.py", "model/build.py")
PROBES = "experiments/probes"
WITHIN = ("model", "train", "experiments.probes")


def root() -> Path:
  """The directory that holds model/, train/ and experiments/."""
  return Path(__file__).resolve().parent.parent


def code_sha256(files: Iterable[str], base: Path | None = None) -> str:
  """Digest of the files (paths relative to `base`, or absolute), independent of their order and of repetition."""
  base = base or root()
  digest = hashlib.sha256()
  for path in sorted(set(files)):
    digest.update(f"{Path(path).as_posix()}\0{sources.read(base, path).text}\0".encode())
  return digest.hexdigest()


def files_in_use(config: Mapping, base: Path | None = None) -> list[str]:
  """The files under model/, train/ and experiments/probes/ that a resolved config runs through, sorted.

  The closure of imports from the training loop, the step, the model builder, the files of the chosen kinds and the
  probes asked for; kinds not chosen are loaded by nobody and stay outside.
  """
  return closure(starts(config, base), base)


def starts(config: Mapping, base: Path | None = None) -> tuple[str, ...]:
  """Where the files in use begin: loop, step, builder, the files of the chosen kinds and of the probes asked for."""
  base = base or root()
  chosen = [_kind(base, f"model/{family}", options) for family, options in config["model"].items()]
  chosen.append(_kind(base, "train/tasks", config["task"]))
  probes = (f"{PROBES}/{name}.py" for name in config.get("probes", ()))
  return (*STARTS, *(path for path in chosen if path), *probes)


def closure(starts: Iterable[str], base: Path | None = None, within: tuple[str, ...] = WITHIN) -> list[str]:
  """Files reached from `starts` by import statements, wherever in a file they stand, under the `within` packages."""
  base = base or root()
  waiting, seen = list(starts), set()
  while waiting:
    path = waiting.pop()
    if path in seen:
      continue
    seen.add(path)
    waiting += [found for name in sources.read(base, path).imports for found in _files(base, name, within)]
  return sorted(seen)


def _kind(base: Path, folder: str, options: object) -> str | None:
  """The file of {"kind": ...}: folder/kind.py, or the user's own path/to/mine.py:Mine."""
  kind = options.get("kind") if isinstance(options, Mapping) else None
  if not kind:
    return None
  if ".py" in kind:
    return kind.rsplit(":", 1)[0] if ":" in kind else kind
  return f"{folder}/{kind}.py" if (base / folder).is_dir() else None


def words(path: str, base: Path | None = None) -> frozenset[str]:
  """The texts that stand in a file's code as constants."""
  return sources.read(base or root(), path).words


def _files(base: Path, name: str, within: tuple[str, ...]) -> list[str]:
  """The module's file and the package files that importing it runs; [] for a name that is no module of ours."""
  if not any(name == inside or name.startswith(f"{inside}.") for inside in within):
    return []
  parts = name.split(".")
  packages = ["/".join((*parts[:depth], "__init__.py")) for depth in range(1, len(parts) + 1)]
  return [path for path in (*packages, "/".join(parts) + ".py") if os.path.isfile(f"{base}/{path}")]
