"""Which options of a kind are dials: numbers that runs of one compiled program may differ in, read from the source.

An option is one when the constructor hands it to `dial` of model/initial.py and uses it nowhere else: then it can reach
the program as an argument only. All that is less plain is compiled in, which costs time and never an answer; workers
compare the models they build all the same.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from configs import slots, source

HARMLESS = ("float", "math", "jnp", "np")  # what may be called on an option on its way into a dial
PEEKING = ("locals", "vars", "eval", "exec", "globals")  # functions that read a value without its name
WITHIN = ("get_metadata", "given", "__dict__")  # attributes that read what a dial was made of


def of(family: str, kind: str) -> frozenset[str]:
  """The options of a kind that are dials. Raises Refused for an unknown kind."""
  stat = slots.class_of(family, kind).path.stat()
  return _read(family, kind, str(Path.cwd()) if ":" in kind else "", stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _read(family: str, kind: str, folder: str, changed: int, size: int) -> frozenset[str]:
  """Dials of the constructor in force, remembered as long as the file is not written again."""
  del folder, changed, size  # only part of the cache's key
  chain, whole = source.chain(slots.class_of(family, kind))
  if not whole or any(_peeks(one.tree) or _altered(one.node) for one in chain):
    return frozenset()
  for one in chain:
    made = {part.name: part for part in one.node.body if isinstance(part, ast.FunctionDef)}
    if "__new__" in made:
      return frozenset()
    if "__init__" in made:
      init, names = made["__init__"], _names_of_dial(one.tree)
      options = (a for a in init.args.kwonlyargs if a.arg not in slots.GIVEN and not init.decorator_list)
      return frozenset(a.arg for a in options if _only_dialed(init, a, names))
  return frozenset()


def _altered(node: ast.ClassDef | ast.FunctionDef) -> bool:
  """Whether a decorator or a metaclass may make another class of what stands there."""
  return bool(node.decorator_list or getattr(node, "keywords", ()))


def _peeks(tree: ast.Module) -> bool:
  """Whether the file has ways to read an option's value that do not show its name."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PEEKING:
      return True
    if (isinstance(node, ast.Attribute) and node.attr in WITHIN) or (
      isinstance(node, ast.Constant) and node.value in WITHIN
    ):
      return True
  return False


def _names_of_dial(tree: ast.Module) -> set[str]:
  """How the file calls model.initial.dial: "dial", "initial.dial"; nothing where it gives those names to others too."""
  names, taken = set(), set()
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        called = alias.asname or alias.name
        if (node.module, alias.name) == ("model.initial", "dial"):
          names.add(called)
        elif (node.module, alias.name) == ("model", "initial"):
          names.add(f"{called}.dial")
        else:
          taken.add(called)
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
      taken.add(node.name)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
      taken.add(node.id)
    elif isinstance(node, ast.arg):
      taken.add(node.arg)
  return {name for name in names if name.partition(".")[0] not in taken}


def _only_dialed(init: ast.FunctionDef, option: ast.arg, names: set[str]) -> bool:
  """Whether every mention of an option stands inside the argument of a call to `dial`, and there is one."""
  dialed = {id(node) for call in _calls(init, names) for node in _mentions(call, option.arg)}
  return bool(dialed) and all(id(node) in dialed for node in _mentions(init, option.arg))


def _mentions(node: ast.AST, name: str) -> Iterator[ast.Name]:
  return (n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == name)


def _calls(init: ast.FunctionDef, names: set[str]) -> Iterator[ast.Call]:
  """The calls dial(number) of a constructor whose number is plain arithmetic."""
  for node in ast.walk(init):
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in names:
      continue
    if len(node.args) == 1 and not node.keywords and all(_plain(part) for part in ast.walk(node.args[0])):
      yield node


def _plain(node: ast.AST) -> bool:
  """Whether a part of an expression does nothing but compute."""
  if isinstance(node, ast.Call):
    return ast.unparse(node.func).partition(".")[0] in HARMLESS
  return not isinstance(node, ast.NamedExpr | ast.Lambda | ast.Await | ast.Yield | ast.YieldFrom)
