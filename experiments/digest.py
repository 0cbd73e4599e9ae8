"""Which code produced a result: a digest of the syntax trees of the files that a config uses.

Comments, docstrings and formatting do not count; every other change does. The dump is our own because `ast.dump`
writes empty fields differently from one Python version to the next.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

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
    digest.update(f"{Path(path).as_posix()}\0{_source(base, path).text}\0".encode())
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
    waiting += [found for name in _source(base, path).imports for found in _files(base, name, within)]
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
  return _source(base or root(), path).words


class _Source(NamedTuple):
  """What is read from one file."""

  text: str  # `_dump` of its tree
  imports: tuple[str, ...]
  words: frozenset[str]


def _source(base: Path, path: str) -> _Source:
  stat = (base / path).stat()
  return _read(base / path, path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _read(file: Path, path: str, changed: int, size: int) -> _Source:
  """Remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  tree = ast.parse(file.read_text(encoding="utf-8"), filename=path)
  nodes = list(ast.walk(tree))
  texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
  return _Source(_dump(tree), _imports(nodes, path), frozenset(texts))


def _imports(nodes: Iterable[ast.AST], path: str) -> tuple[str, ...]:
  """Dotted names that a file imports; `from a import b` gives a and a.b, since b may be a module."""
  names: dict[str, None] = {}
  for node in nodes:
    if isinstance(node, ast.Import):
      names |= dict.fromkeys(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      package = Path(path).parent.parts
      above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
      source = ".".join(part for part in (above, node.module or "") if part)
      names |= dict.fromkeys([source, *(f"{source}.{alias.name}" for alias in node.names)])
  return tuple(names)


def _files(base: Path, name: str, within: tuple[str, ...]) -> list[str]:
  """The module's file and the package files that importing it runs; [] for a name that is no module of ours."""
  parts = name.split(".")
  if not any(parts[: len(package)] == package for package in (inside.split(".") for inside in within)):
    return []
  packages = ["/".join((*parts[:depth], "__init__.py")) for depth in range(1, len(parts) + 1)]
  return [path for path in (*packages, "/".join(parts) + ".py") if (base / path).is_file()]


def _dump(node: object) -> str:
  """A tree as text without positions, empty fields and bare strings (docstrings)."""
  if isinstance(node, ast.AST):
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in ("kind", "type_comment"))
    inner = ",".join(f"{name}={_dump(value)}" for name, value in fields if value is not None and value != [])
    # None is a value only as a constant; elsewhere it is a field left out.
    return f"{type(node).__name__}({inner})" if not _is_none(node) else "Constant(None)"
  if isinstance(node, list):
    return "[" + ",".join(_dump(item) for item in node if not _is_bare_string(item)) + "]"
  return repr(node)


def _is_none(node: ast.AST) -> bool:
  return isinstance(node, ast.Constant) and node.value is None


def _is_bare_string(node: object) -> bool:
  return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
