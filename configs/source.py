"""Python files read without importing them: their trees, where a name comes from, what a class is built on."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from configs import Refused

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {"Module", "object", "Protocol", "ABC", "Generic"}  # bases that bring no behavior of ours
DEEPEST = 20  # bases above each other; more are a circle


class Found(NamedTuple):
  """A class, or a function, and the file that it stands in."""

  node: ast.ClassDef | ast.FunctionDef
  path: Path

  @property
  def tree(self) -> ast.Module:
    return tree_of(self.path)


def tree_of(path: Path) -> ast.Module:
  """The syntax tree of a file, remembered as long as it is not written again. Raises Refused for what is no Python."""
  stat = path.stat()
  return _parse(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, changed: int, size: int) -> ast.Module:
  del changed, size  # only part of the cache's key
  try:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    raise Refused(f"{path.name} is not Python: {error}; correct the file") from None
  except OSError as error:
    raise Refused(f"{path} cannot be read: {error.strerror}; make it readable") from None


def find_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
  """The public class whose CamelCase name is the file's snake_case name (none -> None_), or exactly `name`."""
  classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
  exact = [node for node in classes if node.name == name]
  plain = name.replace("_", "").lower()
  alike = [node for node in classes if node.name.replace("_", "").lower() == plain and not node.name.startswith("_")]
  return next(iter(exact + alike), None)


def resolve(expression: ast.expr, path: Path) -> Found | None:
  """The class or function that an expression of a file names, wherever it is written; None for what is not ours."""
  module, _, name = ast.unparse(expression).rpartition(".")
  if module:
    file = _file_of(module, path)
    return _within(file, name) if file else None
  return _within(path, name) or _from_import(name, path)


def constant(name: str, path: Path) -> ast.expr | None:
  """The expression that a file gives to a name at its top level, or that a file of ours gives, where it imports it."""
  for node in tree_of(path).body:
    if not isinstance(node, ast.Assign | ast.AnnAssign):
      continue
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if any(isinstance(target, ast.Name) and target.id == name for target in targets):
      return node.value
  return None


def chain(found: Found) -> tuple[list[Found], bool]:
  """A class and all it is built on, nearest first; and whether every base could be followed to its end."""
  seen, whole, waiting = [], True, [found]
  while waiting and len(seen) < DEEPEST:
    here = waiting.pop(0)
    if any(here.node is other.node for other in seen) or not isinstance(here.node, ast.ClassDef):
      continue
    seen.append(here)
    for base in here.node.bases:
      above = resolve(base.value if isinstance(base, ast.Subscript) else base, here.path)
      if above is not None:
        waiting.append(above)
      elif _last(base) not in ROOTS:
        whole = False
  return seen, whole and not waiting


def methods(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
  """The names that the body of a class defines, functions and values alike, those given to self included."""
  for part in node.body:
    if isinstance(part, ast.FunctionDef):
      yield part.name
    elif isinstance(part, ast.Assign | ast.AnnAssign):
      targets = part.targets if isinstance(part, ast.Assign) else [part.target]
      yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
  for part in ast.walk(node):
    if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self":
      yield part.attr


def _last(base: ast.expr) -> str:
  return ast.unparse(base.value if isinstance(base, ast.Subscript) else base).rpartition(".")[2]


def _within(path: Path, name: str) -> Found | None:
  for node in tree_of(path).body:
    if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
      return Found(node, path)
  return None


def _from_import(name: str, path: Path) -> Found | None:
  """What `from module import name` names, also under another name."""
  for node in tree_of(path).body:
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
      for alias in node.names:
        if (alias.asname or alias.name) == name and (file := _module(node.module, path)) is not None:
          return _within(file, alias.name)
  return None


def _file_of(word: str, path: Path) -> Path | None:
  """The file that `word.name` looks into: of `import a.b`, `import a.b as word`, `from a import word`."""
  for node in tree_of(path).body:
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names if (alias.asname or alias.name) == word]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
      names = [f"{node.module}.{alias.name}" for alias in node.names if (alias.asname or alias.name) == word]
    else:
      continue
    for name in names:
      if (file := _module(name, path)) is not None:
        return file
  return None


def _module(name: str, path: Path) -> Path | None:
  """The file of a module: one of ours, or one beside the file that imports it."""
  for folder in (ROOT, path.parent):
    file = folder / (name.replace(".", "/") + ".py")
    if file.is_file():
      return file
  return None
