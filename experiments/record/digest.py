"""Which code produced a result: a digest of the syntax trees of the files that a config uses.

Comments, docstrings, formatting and what refusals say do not count; every other change does. Nor does it count where
this repository or a user's file lies: ours are told apart by their place in the repository, a user's file and its
helpers by their places to each other.
"""

import ast
import atexit
import contextlib
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from experiments.record import atomic
from model.errors import Refused
from train import compute

# The host code that decides a trial's numbers: the loop, the compiled step, what is measured at the end and what the
# compiler is told. Who runs which trial where, and what is stored how, does not.
STARTS = (
  "train/loop.py",
  "train/step.py",
  "model/build.py",
  "experiments/worker/brief.py",
  "experiments/worker/measured.py",
)
PROBES = "experiments/probes"
MODELS = "model/models"
NOTHING = "(?!)"  # a pattern that no path matches
WITHIN = ("model", "train", "experiments.probes")
OURS = ("model", "train", "configs", "experiments")
INSTALLED = ("site-packages", "dist-packages")

LEFT_OUT = ("kind", "type_comment")
MOST = 2000  # files remembered on disk; then only those of the last command

Place = tuple[Path, str]  # a folder that modules are looked for in, and a file's path from there


def root() -> Path:
  """The directory that holds model/, train/ and experiments/."""
  return Path(__file__).resolve().parents[2]


def code_sha256(files: Iterable[str], base: Path | None = None) -> str:
  """Digest of the files (paths relative to `base`, or absolute), independent of their order and of repetition."""
  return of_texts(texts(files, base))


def texts(files: Iterable[str], base: Path | None = None) -> dict[str, str]:
  """What counts of each file, by the name that a digest calls it."""
  return {name: read(base or root(), path).text for name, path in sorted(names(files).items())}


def of_texts(texts: Mapping[str, str]) -> str:
  """The digest of what `texts` gave."""
  digest = hashlib.sha256()
  for name, text in sorted(texts.items()):
    digest.update(f"{name}\0{text}\0".encode())
  return digest.hexdigest()


def names(files: Iterable[str]) -> dict[str, str]:
  """What a digest calls each file, and its path: absolute ones by their places in the folder that holds them all."""
  files = {Path(path).as_posix() for path in files}
  own = {path for path in files if os.path.isabs(path)}
  above = os.path.commonpath([os.path.dirname(path) for path in own]) if own else ""
  return {path: path for path in files - own} | {f"./{os.path.relpath(path, above)}": path for path in own}


def files_in_use(config: Mapping, base: Path | None = None) -> list[str]:
  """The files that a resolved config runs through, sorted: ours relative to the repository, a user's absolute.

  The closure of imports from `starts`; kinds not chosen are loaded by nobody and stay outside.
  """
  return closure(starts(config, base), base)


def starts(config: Mapping, base: Path | None = None) -> tuple[str, ...]:
  """Where the files in use begin: STARTS, the files of the model, of the chosen kinds and of the probes asked for."""
  model, task = config["model"], config["task"].get("kind")
  chosen = tuple((name, part.get("kind")) for name, part in model.items() if isinstance(part, Mapping))
  return _starts(base or root(), model["kind"], chosen, task, tuple(config.get("probes", ())))


@functools.lru_cache(maxsize=1024)
def _starts(base: Path, model: str, chosen: tuple, task: str | None, probes: tuple[str, ...]) -> tuple[str, ...]:
  found = [_model(base, model), *(_kind(base, f"model/{family}", kind) for family, kind in chosen)]
  found.append(_kind(base, "train/tasks", task))
  asked = (f"{PROBES}/{name}.py" for name in probes)
  return (*(there for start in STARTS if (there := _there(base, start))), *(path for path in found if path), *asked)


def _there(base: Path, start: str) -> str | None:
  """Where a file of STARTS lies: an older tree has it in its old place, or lacks it."""
  if os.path.isfile(base / start):
    return start
  from experiments.record import moved

  return before if os.path.isfile(base / (before := moved.path_before(start))) else None


def closure(
  starts: Iterable[str], base: Path | None = None, within: tuple[str, ...] = WITHIN, without: str = NOTHING
) -> list[str]:
  """Files reached from `starts` by import statements, wherever in a file they stand.

  Of ours those under the `within` packages, but for paths that match `without`. From a user's file also its helpers:
  what it imports from its own folder,
  the current one or PYTHONPATH, and the files of these that it names as texts. Raises Refused for what is not Python.
  """
  base = base or root()
  waiting, seen = [_place(base, start) for start in starts], set()
  while waiting:
    place = waiting.pop()
    if place in seen:
      continue
    seen.add(place)
    waiting += (place for place in _next(base, place, within) if not re.fullmatch(without, place[1]))
  return sorted(path if _ours(base, (folder, path)) else f"{folder}/{path}" for folder, path in seen)


def _place(base: Path, start: str) -> Place:
  """A file of the repository's packages, or one of the user's with the folder it lies in."""
  if not os.path.isabs(start) and start.partition("/")[0] in OURS and os.path.isfile(base / start):
    return base, start
  path = Path(start).expanduser().resolve()
  if path.is_relative_to(base) and path.relative_to(base).parts[0] in OURS:
    return base, path.relative_to(base).as_posix()
  return (path.parent, path.name) if path.is_file() else (base, start)


def _ours(base: Path, place: Place) -> bool:
  """Whether a file belongs to the repository's packages; a user's may lie beside them."""
  return place[0] == base and (place[1].partition("/")[0] in OURS or not (base / place[1]).is_file())


def _next(base: Path, place: Place, within: tuple[str, ...]) -> Iterator[Place]:
  (folder, path), ours = place, _ours(base, place)
  try:
    source = read(folder, path)
  except (SyntaxError, ValueError) as error:
    raise Refused(f"{folder / path} is not Python: {error}; correct the file") from None
  for name in source.imports:
    yield from ((base, found) for found in _files(base, name, within if ours else OURS))
  if ours:
    return
  for near in _near(folder):
    for name in source.imports:
      if name.partition(".")[0] not in (*OURS, *sys.stdlib_module_names):
        yield from ((near, found) for found in _modules(near, name))
  yield from _named(folder, path, source.words)


def _near(folder: Path) -> list[Path]:
  """The folders that a user's file may import its helpers from."""
  given = [folder, Path.cwd(), *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
  real = dict.fromkeys(path.resolve() for path in given)
  return [path for path in real if not any(part in INSTALLED for part in path.parts)]


def _named(folder: Path, path: str, words: Iterable[str]) -> Iterator[Place]:
  """Files beside a user's file that stand in it as texts: it may read them."""
  beside = (folder / path).parent.relative_to(folder).as_posix()
  for word in sorted(words):
    name = os.path.normpath(f"{beside}/{word}")
    if 0 < len(word) < 200 and word.isprintable() and not os.path.isabs(word) and os.path.isfile(folder / name):
      yield folder, name


def _model(base: Path, kind: str) -> str | None:
  """The file of model.kind: one of model/models, or the user's own path/to/mine.py:Mine.

  Older trees have several kinds in a file; there model/build.py says which.
  """
  if ":" in kind or (base / MODELS).is_dir():
    return _kind(base, MODELS, kind)
  module = _modules_of_models(base).get(kind)
  return f"{module.replace('.', '/')}.py" if module else None


@functools.lru_cache(maxsize=8)
def _modules_of_models(base: Path) -> Mapping[str, str]:
  """The module of each model.kind of an older tree, from MODELS in its model/build.py."""
  for node in ast.parse((base / "model" / "build.py").read_text(encoding="utf-8")).body:
    if isinstance(node, ast.Assign) and any(
      isinstance(name, ast.Name) and name.id == "MODELS" for name in node.targets
    ):
      return {kind: entry[0] for kind, entry in ast.literal_eval(node.value).items()}
  return {}


def _kind(base: Path, folder: str, kind: str | None) -> str | None:
  """The file of {"kind": ...}: folder/kind.py, or the user's own path/to/mine.py:Mine."""
  if not kind:
    return None
  if ".py" in kind:
    return kind.rsplit(":", 1)[0] if ":" in kind else kind
  return f"{folder}/{kind}.py" if (base / folder).is_dir() else None


def words(path: str, base: Path | None = None) -> frozenset[str]:
  """The texts that stand in a file's code as constants."""
  return read(base or root(), path).words


def _files(base: Path, name: str, within: tuple[str, ...]) -> list[str]:
  """The module's file and the package files that importing it runs; [] for a name that is no module of ours."""
  if not any(name == inside or name.startswith(f"{inside}.") for inside in within):
    return []
  return _modules(base, name)


def _modules(folder: Path, name: str) -> list[str]:
  """The files that importing a module from this folder runs: its own and those of the packages it is in."""
  parts = name.split(".")
  packages = ["/".join((*parts[:depth], "__init__.py")) for depth in range(1, len(parts) + 1)]
  return [path for path in (*packages, "/".join(parts) + ".py") if os.path.isfile(f"{folder}/{path}")]


# ---------------------------------------------------------------------------------------------------------------------
# What a file says


class Source(NamedTuple):
  """What is read from one of our source files: its tree as text, what it imports, the texts that stand in it.

  The dump is our own because `ast.dump` writes empty fields differently from one Python version to the next. What was
  read is kept on disk by the file's content, because parsing is what a command that finds everything stored waits for.
  """

  text: str  # `dump` of its tree
  imports: tuple[str, ...]  # dotted names
  words: frozenset[str]  # texts that are constants of its code


def read(base: Path, path: str) -> Source:
  """The file `path`, relative to `base` or absolute. Raises SyntaxError for a .py file that is not Python.

  Any other file is data: its text is the hash of its content.
  """
  stat = (base / path).stat()
  return _read(base / path, path, stat.st_mtime_ns, stat.st_size)


def parse(content: bytes, path: str) -> Source:
  """What a file of this content holds; its path tells what relative imports mean."""
  if not path.endswith(".py"):
    return Source(hashlib.sha256(content).hexdigest(), (), frozenset())
  nodes: list[ast.AST] = []
  text = dump(ast.parse(content, filename=path), nodes)
  words = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
  return Source(text, _imports(nodes, path), frozenset(words))


def dump(node: object, met: list[ast.AST]) -> str:
  """A tree as text without positions, empty fields and bare strings (docstrings); its nodes are added to `met`.

  What a refusal says is left out too: Refused("...") in other words refuses the same.
  """
  if isinstance(node, ast.AST):
    met.append(node)
    if _is_refusal(node):
      node = ast.Call(node.func, [arg for arg in node.args if not _is_text(arg)], node.keywords)
    if isinstance(node, ast.Constant) and node.value is None:  # a value only here; elsewhere it is a field left out
      return "Constant(None)"
    fields = ((name, getattr(node, name, None)) for name in node._fields if name not in LEFT_OUT)
    inner = ",".join([f"{name}={dump(value, met)}" for name, value in fields if value is not None and value != []])
    return f"{type(node).__name__}({inner})"
  if isinstance(node, list):
    return "[" + ",".join([dump(item, met) for item in node if not _is_bare_string(item)]) + "]"
  return repr(node)


def _is_refusal(node: ast.AST) -> TypeGuard[ast.Call]:
  """Whether the node makes a Refused, by its plain name or as errors.Refused."""
  if not isinstance(node, ast.Call):
    return False
  name = node.func
  return (isinstance(name, ast.Name) and name.id == "Refused") or (
    isinstance(name, ast.Attribute) and name.attr == "Refused"
  )


def _is_text(node: ast.expr) -> bool:
  """Whether an expression is a text, or texts put together with + and %."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
    return _is_text(node.left) or _is_text(node.right)
  return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_bare_string(node: object) -> bool:
  return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


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


@functools.lru_cache(maxsize=1024)
def _read(file: Path, path: str, changed: int, size: int) -> Source:
  """Remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  content = file.read_bytes()
  key = hashlib.sha256(b"\0".join((_reader(), path.encode(), content))).hexdigest()
  kept = _kept()
  if key in kept.held:
    text, imports, words = kept.held[key]
    found = Source(text, tuple(imports), frozenset(words))
  else:
    found = parse(content, path)
  kept.used[key] = [found.text, list(found.imports), sorted(found.words)]
  return found


# ---------------------------------------------------------------------------------------------------------------------
# The file that remembers what was read


class _Kept:
  def __init__(self, held: dict[str, Any]):
    self.held, self.used = held, {}

  def save(self) -> None:
    """Writes what this process met for the first time; a folder that cannot be written costs time and nothing else."""
    if self.used.keys() <= self.held.keys():
      return
    held = self.held if len(self.held) < MOST else {}
    with contextlib.suppress(Refused, OSError):
      atomic.write_json(_memory(), held | self.used)


@functools.cache
def _kept() -> _Kept:
  try:
    held = json.loads(_memory().read_text(encoding="utf-8"))
    kept = _Kept(held if isinstance(held, dict) else {})
  except (OSError, ValueError):
    kept = _Kept({})
  atexit.register(kept.save)
  return kept


@functools.cache
def _reader() -> bytes:
  """What decides how a file is read: this module and Python's grammar."""
  return Path(__file__).read_bytes() + sys.version.encode()


def _memory() -> Path:
  return compute.cache_folder().with_name("sources.json")
