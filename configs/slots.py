"""What stands in the variable places of a configuration: one file = one kind, its options read from the source.

The files are parsed, never imported, so that a wrong option is told before jax is loaded.
"""

import ast
import difflib
import functools
from collections.abc import Mapping
from pathlib import Path

from configs.errors import Refused
from configs.values import known, type_of

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
  "attention": "model/attention",
  "position": "model/position",
  "feedforward": "model/feedforward",
  "tasks": "train/tasks",
}
SLOTS = {
  "model.attention": "attention",
  "model.position": "position",
  "model.feedforward": "feedforward",
  "task": "tasks",
}
SHARED = {"__init__", "mechanism", "scheme", "task"}  # files that a folder's kinds build upon
GIVEN = ("width", "heads", "kv_heads", "head_dim", "layer")  # what the builder passes: never an option


def kinds(family: str) -> list[str]:
  """The kinds of a family by the files on disk; those of "attention" are additive, cosine, dot and so on."""
  folder = ROOT / FOLDERS[family]
  return sorted(
    path.stem
    for path in folder.glob("*.py")
    if path.stem not in SHARED and not path.stem.startswith("_") and _find_class(_tree(path), path.stem) is not None
  )


def describe(family: str, kind: str) -> dict:
  """What the source of one kind says: a file's name, or "path/to/mine.py:Mine" for a class of the user's.

  kind, file, class; doc (the module's docstring), paper and formula (its first paragraph, cut at the last colon),
  summary (the class's docstring); options {name: {"type", "default", and "low", "high" where the constructor states
  them}}, without "default" where an option is required; attributes (literal class attributes); supports (what
  a mechanism can do). Raises Refused for an unknown kind, with a suggestion.
  """
  path, name = _locate(family, kind)
  tree = _tree(path)
  found = _find_class(tree, name)
  if found is None:
    raise Refused(f"{kind}: {path.name} defines no class {name}; name one with path/to/file.py:Class")
  inside = path.is_relative_to(ROOT) and ":" not in kind
  doc = ast.get_docstring(tree) or ""
  paper, _, formula = " ".join(doc.split("\n\n")[0].split()).rpartition(": ")
  return {
    "kind": kind,
    "file": path.relative_to(ROOT).as_posix() if inside else kind.rpartition(":")[0],
    "class": found.name,
    "doc": doc,
    "paper": paper or formula,
    "formula": formula.rstrip(".") if paper else "",
    "summary": ast.get_docstring(found) or "",
    "options": _options(found, tree),
    "attributes": _attributes(found),
    "supports": _supports(found, path.parent),
  }


def defaults(family: str, kind: str) -> dict:
  """The options of a kind that have a default, with it."""
  options = describe(family, kind)["options"]
  return {name: option["default"] for name, option in options.items() if "default" in option}


def suggestion(word: str, allowed) -> str:
  """The words "did you mean dot? ", or none; among dotted keys the last name alone is enough."""
  allowed = [str(one) for one in allowed]
  last = word.rpartition(".")[2]
  close = [one for one in allowed if one.rpartition(".")[2] == last] or difflib.get_close_matches(word, allowed, 1)
  if not close:
    leaves = {one.rpartition(".")[2]: one for one in reversed(allowed)}
    close = [leaves[one] for one in difflib.get_close_matches(last, leaves, 1, 0.7)]
  return f"did you mean {close[0]}? " if close else ""


def _locate(family: str, kind: str) -> tuple[Path, str]:
  """The file of a kind and the name its class answers to."""
  if ":" in kind or kind.endswith(".py"):
    file, _, name = kind.rpartition(":")
    path = Path(file).expanduser() if file else Path()
    if not (name.isidentifier() and file.endswith(".py")):
      raise Refused(f"kind={kind}: a class of your own is named path/to/file.py:Class")
    try:
      if not path.is_file():
        raise Refused(f"kind={kind}: there is no file {file}; give a path from the current folder or an absolute one")
    except (OSError, ValueError) as error:
      raise Refused(f"kind={kind!r}: {file!r} is no path ({error})") from None
    return path.resolve(), name
  path = ROOT / FOLDERS[family] / f"{kind}.py"
  if not (kind.isidentifier() and kind not in SHARED and not kind.startswith("_") and path.is_file()):
    found = kinds(family)
    hint = suggestion(kind, found)
    raise Refused(f"kind={kind!r} is no {family.removesuffix('s')}: {hint}allowed: {', '.join(found)} or file.py:Class")
  return path, kind


def _tree(path: Path) -> ast.Module:
  stat = path.stat()
  return _parse(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _parse(path: Path, changed: int, size: int) -> ast.Module:
  try:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
  except (SyntaxError, ValueError) as error:
    raise Refused(f"{path.name} is not Python: {error}; correct the file") from None


def _find_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
  """The public class whose CamelCase name is the file's snake_case name (none -> None_), or exactly `name`."""
  classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
  exact = [node for node in classes if node.name == name]
  plain = name.replace("_", "").lower()
  alike = [node for node in classes if node.name.replace("_", "").lower() == plain and not node.name.startswith("_")]
  return next(iter(exact + alike), None)


def _options(found: ast.ClassDef, tree: ast.Module) -> dict[str, dict]:
  """The options of __init__, its own or the nearest base's that can be read: its keyword-only parameters."""
  init = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
  if init is not None:
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    ranges = _ranges(init)
    return {
      a.arg: _option(found.name, a, default) | ranges.get(a.arg, {}) for a, default in pairs if a.arg not in GIVEN
    }
  for base in found.bases:
    name = ast.unparse(base).rpartition(".")[2]
    above = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name and n is not found), None)
    if above is not None:
      return _options(above, tree)
    source = _imported(tree, name)
    if source is not None and (above := _find_class(_tree(source), name)) is not None:
      return _options(above, _tree(source))
  return {}


def _ranges(init: ast.FunctionDef) -> dict[str, dict]:
  """{option: {"low", "high"}} from calls whole("pairs", pairs, 1) and real("noise", noise, 0.0, 1.0) of a task."""
  ranges = {}
  for node in ast.walk(init):
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("whole", "real") and len(node.args) > 2):
      continue
    name, _, *bounds = node.args
    if isinstance(name, ast.Constant):
      numbers = zip(("low", "high"), map(_number, bounds), strict=False)
      ranges[name.value] = {side: number for side, number in numbers if number is not None}
  return ranges


def _number(node: ast.expr):
  """A literal number, None for what depends on other values."""
  try:
    return ast.literal_eval(node)
  except ValueError:
    return None


def _imported(tree: ast.Module, name: str) -> Path | None:
  """The file of ours that `name` is imported from."""
  for node in tree.body:
    if isinstance(node, ast.ImportFrom) and node.module and any((a.asname or a.name) == name for a in node.names):
      path = ROOT / (node.module.replace(".", "/") + ".py")
      return path if path.is_file() else None
  return None


def _option(owner: str, argument: ast.arg, default: ast.expr | None) -> dict:
  """{"type", "default"} of one parameter; the default must be a literal so that it can be read without importing."""
  option, name = {}, argument.arg
  if default is not None:
    try:
      option["default"] = ast.literal_eval(default)
    except ValueError:
      given = ast.unparse(default)
      raise Refused(f"{owner}({name}={given}): an option's default must be a literal number or word") from None
  if argument.annotation is None and not option:
    raise Refused(f"{owner}({name}) has neither a type nor a default; annotate it, as in {name}: int = 1")
  kind = ast.unparse(argument.annotation).strip("'\"") if argument.annotation else type_of(option["default"])
  if not known(kind):
    raise Refused(
      f"{owner}({name}: {kind}): an option is int, float, bool, str, one of them | None, or tuple[int, ...]"
    )
  return {"type": kind, **option}


def _attributes(found: ast.ClassDef) -> dict:
  """Class attributes with literal values: {"views": 1, "floor": 0.0625}."""
  values = {}
  for node in found.body:
    names = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    if len(names) != 1 or not isinstance(names[0], ast.Name) or node.value is None:
      continue
    try:
      values[names[0].id] = ast.literal_eval(node.value)
    except ValueError:
      continue  # computed when the class is built: not for a listing
  return values


def _supports(found: ast.ClassDef, folder: Path) -> Mapping[str, object]:
  """What a mechanism supports: the defaults of Supports in mechanism.py, and its own keywords over them."""
  interface = folder / "mechanism.py"
  if not interface.is_file():
    return {}
  declared = _find_class(_tree(interface), "supports")
  values = _attributes(declared) if declared is not None else {}
  for node in found.body:
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
      continue
    if ast.unparse(node.value.func).rpartition(".")[2] == "Supports":
      for keyword in node.value.keywords:
        if keyword.arg and isinstance(keyword.value, ast.Constant):
          values[keyword.arg] = keyword.value.value
  return values
