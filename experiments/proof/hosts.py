"""What a proof by programs does not see: code that runs on the host, compared function by function by its syntax tree.

A file under model/, the step, the optimizer and the state leave all they do in programs, and in numbers that are
compared. A task without a judge as well: its batches are drawn inside of programs, its data are compared byte by byte.
All other code of a trial must read as before: the loop, the summary of a curve, a judge, a probe.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from experiments.record import digest, moved

SEEN = re.compile(r"model/.*|train/(step|optim|state|mesh)\.py|experiments/worker/brief\.py")
TASKS = re.compile(r"train/(tasks|corpora)/.*|train/(chance|generate)\.py")  # their host code serves judges alone
TRACED = {"train/metrics.py": ("cross_entropy", "score")}  # called inside of programs and nowhere else
ALWAYS = {
  "experiments/worker/pack.py": ("_result", "subject")
}  # where it stood before measured.py, which every digest covers

Units = dict[str, str]


def units(content: bytes | None, path: str, words: bool = False) -> Units:
  """Name -> syntax tree as text, for every function and method of a file, for the rest of each class and of the file.

  {} for no file. Comments, docstrings, formatting and the order of imports do not count. words: by today's words.
  """
  found: Units = {}
  rest: list[ast.stmt] = []
  tree = _Names().visit(ast.parse(content or b"", filename=path))
  tree = _Words(tree).visit(tree) if words else tree
  imports = sorted((node for node in tree.body if isinstance(node, ast.Import)), key=ast.unparse)
  for node in (*imports, *(node for node in tree.body if not isinstance(node, ast.Import))):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      found[node.name] = digest.dump(node, []) + found.get(node.name, "")
    elif isinstance(node, ast.ClassDef):
      methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
      for method in methods:
        name = f"{node.name}.{method.name}"
        found[name] = digest.dump(method, []) + found.get(name, "")
      node.body = [item for item in node.body if item not in methods]
      found[node.name] = digest.dump(node, [])
    else:
      rest.append(node)
  return found | {"top level": digest.dump(rest, [])}


class _Names(ast.NodeTransformer):
  """Imports, one name a statement, by what is imported and what it is called: a module that has moved is the same."""

  def visit_Import(self, node):
    return [ast.Import([ast.alias(moved.now(name.name), name.asname)]) for name in node.names]

  def visit_ImportFrom(self, node):
    if node.level or not node.module:
      return node
    pairs = sorted((moved.now(f"{node.module}.{name.name}"), name.asname or name.name) for name in node.names)
    return [ast.Import([ast.alias(*pair)]) for pair in pairs]


class _Words(ast.NodeTransformer):
  """Identifiers by today's words (moved.WORDS): something that is called otherwise now is the same.

  For a tree from before the words were changed, held against one from after it, and for no other pair. A file that
  knows both words of a pair keeps them, so that two things in it never become one.
  """

  def __init__(self, tree: ast.AST):
    said = {name for node in ast.walk(tree) for name in _said(node)}
    self.words = {before: now for before, now in moved.WORDS.items() if now not in said}

  def generic_visit(self, node):
    super().generic_visit(node)
    for field in _FIELDS.get(type(node), ()):
      if getattr(node, field) in self.words and not _of_a_library(node):
        setattr(node, field, self.words[getattr(node, field)])
    return node


_FIELDS: dict[type, tuple[str, ...]] = {
  ast.Name: ("id",),
  ast.Attribute: ("attr",),
  ast.arg: ("arg",),
  ast.keyword: ("arg",),
  ast.alias: ("asname",),
  ast.FunctionDef: ("name",),
  ast.ClassDef: ("name",),
}


_BINDING: dict[type, str] = {  # what else gives a name to something
  ast.AsyncFunctionDef: "name",
  ast.ExceptHandler: "name",
  ast.MatchAs: "name",
  ast.MatchStar: "name",
  ast.MatchMapping: "rest",
}


def _said(node: ast.AST) -> list[str]:
  """The words that a node knows."""
  if isinstance(node, ast.Global | ast.Nonlocal):
    return node.names
  if isinstance(node, ast.Import):
    return [part for name in node.names for part in (name.asname or name.name).split(".")[:1]]
  if type(node) in _BINDING:
    return [getattr(node, _BINDING[type(node)])]
  return [] if _of_a_library(node) else [getattr(node, field) for field in _FIELDS.get(type(node), ())]


def _of_a_library(node: ast.AST) -> bool:
  """Whether this is a name of numpy's, such as np.where, which is no word of ours."""
  return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("np", "jnp", "jax")


def changed(old: bytes | None, new: bytes | None, path: str, words: bool = False) -> list[str]:
  """Names of what differs between two states of a file; a unit that only one of them has differs too.

  words: the older is from before the words of today.
  """
  one, other = units(old, path, words), units(new, path, words)
  return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def unseen(path: str, names: list[str], config: Mapping[str, Any]) -> list[str]:
  """Those of a file's changed functions that a proof by programs does not cover for a trial of this config."""
  if SEEN.fullmatch(path):
    return []
  if TASKS.fullmatch(path):
    return [name for name in names if not name.endswith(".sample")] if config["eval"]["judge"] else []
  if path in ALWAYS:
    return [name for name in names if name in ALWAYS[path]]
  return [name for name in names if name not in TRACED.get(path, ())]
