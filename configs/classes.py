"""The class of a kind and those it is built on, read from their files without importing them."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from configs import slots
from configs.errors import Refused


class Read(NamedTuple):
  """A class and the file it stands in."""

  node: ast.ClassDef
  tree: ast.Module
  path: Path


def path_of(family: str, kind: str) -> Path:
  """The file of a kind. Raises Refused for an unknown one."""
  return slots._locate(family, kind)[0]


def chain(family: str, kind: str) -> tuple[list[Read], bool]:
  """The class of a kind and its bases, nearest first; and whether all of them could be read."""
  path, name = slots._locate(family, kind)
  waiting, seen, whole = [(path, slots.describe(family, kind)["class"])], [], True
  while waiting:
    path, name = waiting.pop(0)
    tree = _tree(path)
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
      whole = False
    elif all(node is not other.node for other in seen):
      seen.append(Read(node, tree, path))
      for base in node.bases:
        above = _base(ast.unparse(base), tree, path)
        whole = whole and (above is not None or ast.unparse(base) in ("object", "nnx.Module", "Module"))
        waiting += [above] if above else []
  return seen, whole


def functions(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
  """The functions that a class's body defines."""
  return (part for part in node.body if isinstance(part, ast.FunctionDef))


def _base(name: str, tree: ast.Module, path: Path) -> tuple[Path, str] | None:
  """The file and name of a base class that stands in the same file or is imported from a file of ours or beside it."""
  if any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body):
    return path, name
  for node in tree.body:
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
      for alias in node.names:
        called = alias.asname or alias.name
        module, last = (node.module, alias.name) if called == name else (f"{node.module}.{alias.name}", "")
        if not last and name.partition(".")[0] == called:
          last = name.partition(".")[2]
        file = last and _file(module, path)
        if file:
          return file, last
  return None


def _file(module: str, path: Path) -> Path | None:
  places = (folder / f"{module.replace('.', '/')}.py" for folder in (slots.ROOT, path.parent))
  return next((place for place in places if place.is_file()), None)


def _tree(path: Path) -> ast.Module:
  stat = path.stat()
  return _parse(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, changed: int, size: int) -> ast.Module:
  """Remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  try:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
  except (SyntaxError, ValueError) as error:
    raise Refused(f"{path.name} is not Python: {error}; correct the file") from None
