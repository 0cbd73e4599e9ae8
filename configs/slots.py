"""What stands in the variable places of a configuration: one file = one kind, its options read from the source.

The files are parsed, never imported, so that a wrong option is told before jax is loaded.
"""

import ast
import copy
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
  "cell": "model/cell",
  "tasks": "train/tasks",
}
SLOTS = {
  "model.attention": "attention",
  "model.position": "position",
  "model.feedforward": "feedforward",
  "model.cell": "cell",
  "task": "tasks",
}
SHARED = {"__init__", "mechanism", "scheme", "task", "cell"}  # files that a folder's kinds build upon
PLAIN = (  # what an expression may hold that is worked out without running its file
  *(ast.Constant, ast.Dict, ast.Name, ast.Load, ast.Store, ast.Tuple, ast.List, ast.BinOp, ast.Add, ast.Sub, ast.Call),
  *(ast.GeneratorExp, ast.ListComp, ast.comprehension, ast.JoinedStr, ast.FormattedValue),
)
MOST = 10_000  # a larger option is not counted through
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
  return copy.deepcopy(_described(family, kind))


def options(family: str, kind: str) -> Mapping[str, Mapping]:
  """The options of a kind as `describe` tells them, shared between callers: nobody writes into them."""
  return _described(family, kind)["options"]


def _described(family: str, kind: str) -> dict:
  path, name = _locate(family, kind)
  stat = path.stat()
  return _read(family, kind, path, name, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _read(family: str, kind: str, path: Path, name: str, changed: int, size: int) -> dict:
  """What `describe` says, remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  tree = _tree(path)
  found = _find_class(tree, name)
  if found is None or (":" in kind and found.name != name):
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
    "options": _options(found, tree, ranged=family == "tasks"),
    "attributes": _attributes(found),
    "supports": _supports(found) if family == "attention" else {},
  }


def defaults(family: str, kind: str) -> dict:
  """The options of a kind that have a default, with it."""
  found = options(family, kind)
  return {name: copy.copy(option["default"]) for name, option in found.items() if "default" in option}


def stated(family: str, kind: str, name: str, values: Mapping[str, object] | None = None) -> object:
  """What a class or a base of it gives this attribute: a literal, or a plain expression of its options' `values`.

  None where the source does not say it without being run; tuple(f"depth {i + 1}" for i in range(depth)) is plain.
  """
  path, word = _locate(family, kind)
  stat = path.stat()
  given = _stating(path, word, name, stat.st_mtime_ns, stat.st_size)
  if len(given) != 1:
    return None
  return _plain(given[0], values or {}) if isinstance(given[0], ast.expr) else given[0]


@functools.lru_cache(maxsize=512)
def _stating(path: Path, word: str, name: str, changed: int, size: int) -> list:
  """All that the nearest class gives an attribute: expressions, a literal's value, or None for what is neither."""
  del changed, size  # only part of the cache's key
  found, tree = _find_class(_tree(path), word), _tree(path)
  while found is not None:
    given = [_given(node, name) for node in ast.walk(found) if _gives(node, name)]
    if given:
      return given
    if name in (attributes := _attributes(found)):
      return [attributes[name]]
    found, tree = _above(found, tree) or (None, tree)
  return []


def _gives(node: ast.AST, name: str) -> bool:
  """Whether a statement inside a class sets the attribute, in whatever way."""
  if isinstance(node, ast.FunctionDef):
    return node.name == name
  if isinstance(node, ast.AnnAssign) and node.value is None:
    return False
  if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For):
    return False
  targets = node.targets if isinstance(node, ast.Assign) else [node.target]
  return any(ast.unparse(part) in (name, f"self.{name}") for target in targets for part in ast.walk(target))


def _given(node: ast.AST, name: str) -> ast.expr | None:
  """The expression that a statement gives the attribute, None where it does so in another way."""
  if not isinstance(node, ast.Assign | ast.AnnAssign):
    return None
  target = node.targets[0] if isinstance(node, ast.Assign) else node.target
  return node.value if ast.unparse(target) in (name, f"self.{name}") else None


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
    if not (name.isidentifier() and file.endswith(".py")):
      raise Refused(f"kind={kind!r}: a class of your own is named path/to/file.py:Class")
    path = existing(file)
    if path is None:
      raise Refused(f"kind={kind!r}: there is no file {file!r}; give a path from the current folder or an absolute one")
    return path, name
  path = existing(ROOT / FOLDERS[family] / f"{kind}.py")
  if path is None or not kind.isidentifier() or kind in SHARED or kind.startswith("_"):
    found, owner = kinds(family), family.removesuffix("s")
    raise Refused(f"kind={kind!r} is no {owner}: {suggestion(kind, found)}allowed: {', '.join(found)} or file.py:Class")
  return path, kind


def existing(file: str | Path) -> Path | None:
  """The absolute path of a file, None when it is none, or can be none."""
  try:
    path = Path(file).expanduser()
    return path.resolve() if path.is_file() else None
  except (OSError, ValueError, RuntimeError):
    return None  # too long, a NUL in it, or the home of nobody


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


def _options(found: ast.ClassDef, tree: ast.Module, ranged: bool) -> dict[str, dict]:
  """The options of __init__, its own or the nearest base's that can be read: its keyword-only parameters."""
  init = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
  if init is not None:
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    ranges = _ranges(init) if ranged else {}
    return {
      a.arg: _option(found.name, a, default) | ranges.get(a.arg, {}) for a, default in pairs if a.arg not in GIVEN
    }
  above = _above(found, tree)
  return _options(*above, ranged) if above else {}


def _above(found: ast.ClassDef, tree: ast.Module) -> tuple[ast.ClassDef, ast.Module] | None:
  """The nearest base that can be read, with the tree of its file."""
  for base in found.bases:
    name = ast.unparse(base).rpartition(".")[2]
    above = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name and n is not found), None)
    if above is not None:
      return above, tree
    source = _imported(tree, name)
    if source is not None and (above := _find_class(_tree(source), name)) is not None:
      return above, _tree(source)
  return None


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
  except (TypeError, ValueError):
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
    except (TypeError, ValueError):
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
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
      target, value = node.targets[0], node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
      target, value = node.target, node.value
    else:
      continue
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    parts = value.elts if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) else [value]
    for name, part in zip(names, parts, strict=False):
      try:
        values[ast.unparse(name)] = ast.literal_eval(part)
      except (TypeError, ValueError):
        continue  # computed when the class is built: not for a listing
  return values


def _plain(node: ast.expr, values: Mapping[str, object]) -> object:
  """The value of an expression of nothing but literals, options, tuple() and range(); None for any other."""
  nodes, made = list(ast.walk(node)), {"tuple": tuple, "range": range}
  inside = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
  read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - inside
  if not all(isinstance(n, PLAIN) for n in nodes) or not read <= made.keys() | values.keys():
    return None
  if any(isinstance(values[name], int) and values[name] > MOST for name in read & values.keys()):  # type: ignore
    return None
  try:
    return eval(compile(ast.Expression(node), "<source>", "eval"), {"__builtins__": {}, **made, **values})
  except (TypeError, ValueError):
    return None


def _supports(found: ast.ClassDef) -> Mapping[str, object]:
  """What a mechanism supports: the defaults of Supports in mechanism.py, and its own keywords over them."""
  declared = _find_class(_tree(ROOT / FOLDERS["attention"] / "mechanism.py"), "supports")
  values = _attributes(declared) if declared is not None else {}
  for node in found.body:
    call = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "Supports":
      for keyword in call.keywords:
        if keyword.arg and isinstance(keyword.value, ast.Constant):
          values[keyword.arg] = keyword.value.value
  return values
