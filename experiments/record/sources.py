"""What is read from one of our source files: its syntax tree as text, what it imports, the texts that stand in it.

The dump is our own because `ast.dump` writes empty fields differently from one Python version to the next. What was
read is kept on disk by the file's content, because parsing is what a command that finds everything stored waits for.
"""

import ast
import atexit
import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from experiments.record import atomic
from model.errors import Refused
from train import compute

LEFT_OUT = ("kind", "type_comment")
MOST = 2000  # files remembered on disk; then only those of the last command


class Source(NamedTuple):
  """One file."""

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
# The file that remembers


class _Kept:
  def __init__(self, held: dict[str, Any]):
    self.held, self.used = held, {}

  def save(self) -> None:
    """Writes what this process met for the first time; a folder that cannot be written costs time and nothing else."""
    if self.used.keys() <= self.held.keys():
      return
    held = self.held if len(self.held) < MOST else {}
    with contextlib.suppress(Refused, OSError):
      atomic.write_json(_path(), held | self.used)


@functools.cache
def _kept() -> _Kept:
  try:
    held = json.loads(_path().read_text(encoding="utf-8"))
    kept = _Kept(held if isinstance(held, dict) else {})
  except (OSError, ValueError):
    kept = _Kept({})
  atexit.register(kept.save)
  return kept


@functools.cache
def _reader() -> bytes:
  """What decides how a file is read: this module and Python's grammar."""
  return Path(__file__).read_bytes() + sys.version.encode()


def _path() -> Path:
  return compute.cache_folder().with_name("sources.json")
