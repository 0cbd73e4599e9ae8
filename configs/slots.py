"""What stands in the variable places of a configuration: one file = one kind, its options read from the source.

The files are parsed, never imported, so that a wrong option is told before jax is loaded.
"""

import ast
import copy
import difflib
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs import Refused, constructor, source
from configs.source import ROOT, Found
from configs.values import known, type_of
from model import schema
from model.schema import OPTIONS

FOLDERS = {
  "attention": "model/attention",
  "position": "model/position",
  "feedforward": "model/feedforward",
  "cell": "model/cell",
  "models": "model/models",
  "tasks": "train/tasks",
}
SLOTS = {  # section: family of its kind; model itself is none, its kind has no options but those of the schema
  key.removesuffix(".kind"): option.family for key, option in OPTIONS.items() if option.family not in ("", "models")
}
SHARED = {"__init__", "mechanism", "scheme", "task", "cell"}  # files that a folder's kinds build upon
PLAIN = (  # what an expression may hold that is worked out without running its file
  *(ast.Constant, ast.Dict, ast.Name, ast.Load, ast.Store, ast.Tuple, ast.List, ast.BinOp, ast.Add, ast.Sub, ast.Call),
  *(ast.GeneratorExp, ast.ListComp, ast.comprehension, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.Not),
)
MOST = 10_000  # a larger option is not counted through
GIVEN = ("width", "heads", "kv_heads", "head_dim", "layer")  # what the builder passes: never an option
PASSED = {  # what the builder gives a class of a family beside its options
  "attention": ("heads", "head_dim", "layer"),
  "position": ("width", "heads", "head_dim"),
  "feedforward": ("width",),
  "cell": ("width", "hidden"),
  "tasks": (),
  "models": ("settings", "vocabulary", "dtype"),
}
INTERFACES = {  # the class that a family is built on
  "attention": ("model/attention/mechanism.py", "Mechanism"),
  "position": ("model/position/scheme.py", "Position"),
  "cell": ("model/cell/cell.py", "Cell"),
  "tasks": ("train/tasks/task.py", "Task"),
}
DUTIES = {  # what a class must define that is not built on it
  "attention": ("__call__", "check", "over_cache", "weights", "supports", "views", "symbols"),
  "position": ("embed", "rotate", "inside", "after", "values", "acts"),
  "cell": ("rest", "start", "enter", "moves", "run"),
  "tasks": ("vocabulary", "data", "sample", "judge"),
  "feedforward": ("__call__",),
  "models": ("__call__",),
}
FORMER = {
  "attention": {"admit": "check", "narrow": "own_mask", "recall": "over_cache"}
}  # methods by their names before
CALLED = {"attention": "an attention mechanism", "position": "a position scheme", "cell": "a recurrent cell",
          "tasks": "a task", "feedforward": "a feed-forward layer", "models": "a model"}  # fmt: skip
HOOKS = {"rotate": "turn", "inside": "add to q.k", "after": "add to the score", "values": "add to the output"}


def kinds(family: str) -> list[str]:
  """The kinds of a family by the files on disk; those of "attention" are additive, cosine, dot and so on."""
  folder = ROOT / FOLDERS[family]
  paths = (path for path in folder.glob("*.py") if path.stem not in SHARED and not path.stem.startswith("_"))
  return sorted(path.stem for path in paths if source.find_class(source.tree_of(path), path.stem) is not None)


def describe(family: str, kind: str) -> dict:
  """What the source of one kind says: a file's name, or "path/to/mine.py:Mine" for a class of the user's.

  kind, file, class; doc (the module's docstring), paper and formula (its first paragraph, cut at the last colon),
  summary (the class's docstring); options {name: {"type", "default", and "low", "high" where the constructor states
  them}}, without "default" where an option is required; attributes (literal class attributes); supports (what
  a mechanism can do; empty where that is computed); hooks (where a position scheme acts; None where that cannot be
  read); defines (names that it or a class above it defines, below the interface; None as well); source (whether a task
  has a source sequence; None as well). Raises Refused for an unknown kind, with a suggestion, and for a class of
  another family.
  """
  return copy.deepcopy(_described(family, kind))


def options(family: str, kind: str) -> Mapping[str, Mapping]:
  """The options of a kind as `describe` tells them, shared between callers: nobody writes into them."""
  return _described(family, kind)["options"]


def told(family: str, kind: str) -> Mapping:
  """What `describe` tells, shared between callers; empty for a kind that is refused."""
  try:
    return _described(family, kind)
  except Refused:
    return {}


def _described(family: str, kind: str) -> dict:
  path, name = _locate(family, kind)
  stat = path.stat()
  return _read(family, kind, path, name, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _read(family: str, kind: str, path: Path, name: str, changed: int, size: int) -> dict:
  """What `describe` says, remembered as long as the file is not written again."""
  del changed, size  # only part of the cache's key
  found = _class(kind, path, name)
  if ":" in kind:
    _admit(family, kind, found)
  tree, node = found.tree, found.node
  inside = path.is_relative_to(ROOT) and ":" not in kind
  doc = ast.get_docstring(tree) or ""
  paper, _, formula = " ".join(doc.split("\n\n")[0].split()).rpartition(": ")
  return {
    "kind": kind,
    "file": path.relative_to(ROOT).as_posix() if inside else kind.rpartition(":")[0],
    "class": node.name,
    "doc": doc,
    "paper": paper or formula,
    "formula": formula.rstrip(".") if paper else "",
    "summary": ast.get_docstring(node) or "",
    "options": _options(found, ranged=family == "tasks"),
    "attributes": _attributes(node),
    "supports": _supports(found) if family == "attention" else {},
    "hooks": _hooks(found) if family == "position" else None,
    "defines": _defines(family, found),
    "source": _reads_source(found) if family == "tasks" else None,
  }


def refusal(
  family: str, kind: str, given: Mapping[str, object], hooks: frozenset[str] | None = frozenset()
) -> str | None:
  """Why the class of a kind refuses these options, in its own words; None where nothing in its source says so.

  hooks: where the position scheme acts that a mechanism is to work with; None where that is not known.
  """
  scheme = constructor.Scheme(hooks) if family == "attention" and hooks is not None else None
  return constructor.refusal(class_of(family, kind), given, scheme)


def dials(family: str, kind: str) -> frozenset[str]:
  """The options of a kind that are dials: numbers that runs of one compiled program may differ in.

  Raises Refused for an unknown kind.
  """
  stat = class_of(family, kind).path.stat()
  return _dials(family, kind, str(Path.cwd()) if ":" in kind else "", stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _dials(family: str, kind: str, folder: str, changed: int, size: int) -> frozenset[str]:
  """Remembered as long as the file is not written again."""
  del folder, changed, size  # only part of the cache's key
  return constructor.dials(class_of(family, kind), GIVEN)


def known_model(kind: str) -> None:
  """Refuses a model.kind that is no file of ours, and a path/to/mine.py:Mine whose class is missing or is no model."""
  _described("models", kind)


def model(kind: str, name: str) -> object:
  """What a model.kind of ours states of itself, such as reads_source; None for a user's, of which nothing is known."""
  try:
    return None if ":" in str(kind) else _stated_by_model(str(kind)).get(name)
  except Refused:
    return None


@functools.cache  # asked a dozen times for every configuration
def _stated_by_model(kind: str) -> Mapping[str, object]:
  return _described("models", kind)["attributes"]


def located(kind: str, beside: Path | None = None) -> str:
  """The kind path/to/mine.py:Mine with the file's absolute path, links followed; any other kind as it is.

  A relative path starts at the current folder, else at the folder `beside`, that of the card which names it.
  """
  file, colon, name = kind.rpartition(":")
  if not colon or not file.endswith(".py"):
    return kind
  path = existing(file) or (existing(beside / file) if beside is not None else None)
  if path is None and beside is not None:
    raise Refused(
      f"kind={kind!r}: there is no file {file!r}, neither from the current folder nor from {beside}; "
      "give an absolute path"
    )
  return kind if path is None else f"{path}:{name}"


def about(slot: str, error: Refused) -> str:
  """What is refused of a kind, with the slot that it stands in."""
  text = str(error)
  return f"{slot}.{text}" if text.startswith("kind=") else f"{slot}.kind: {text}"


def class_of(family: str, kind: str) -> Found:
  """The class of a kind and its file. Raises Refused for an unknown kind and for a file without that class."""
  return _class(kind, *_locate(family, kind))


def _class(kind: str, path: Path, name: str) -> Found:
  node = source.find_class(source.tree_of(path), name)
  if node is None or (":" in kind and node.name != name):
    raise Refused(f"kind={kind!r}: {path.name} defines no class {name}; name one with path/to/file.py:Class")
  return Found(node, path)


def _admit(family: str, kind: str, found: Found) -> None:
  """Refuses a user's class that belongs to another family, or that lacks what the builder will ask of it."""
  above, whole = source.chain(found)
  names = {interface: other for other, interface in INTERFACES.items()}
  built_on = {names[place] for one in above if (place := (_relative(one.path), one.node.name)) in names}
  if built_on and family not in built_on:
    raise Refused(
      f"kind={kind!r}: {found.node.name} is {CALLED[built_on.pop()]}, not {CALLED[family]}; {_build_on(family)}"
    )
  has = {name for one in above for name in source.methods(one.node)}
  for before, now in FORMER.get(family, {}).items():
    if before in has:  # nobody would call it
      raise Refused(f"kind={kind!r}: {found.node.name} defines {before}, a method that is called {now} now; rename it")
  if whole and not built_on:
    missing = [name for name in DUTIES[family] if name not in has]
    if missing:
      raise Refused(
        f"kind={kind!r}: {found.node.name} is not {CALLED[family]}: it has no {', '.join(missing)}; {_build_on(family)}"
      )
  init = next((n for one in above for n in one.node.body if getattr(n, "name", "") == "__init__"), None)
  if isinstance(init, ast.FunctionDef):
    ordered = [*init.args.posonlyargs, *init.args.args][1:]
    required = [one.arg for one in ordered[: len(ordered) - len(init.args.defaults)]]
    if family == "models":
      required = required[len(PASSED[family]) :]
    nobody = [name for name in required if name not in PASSED[family]]
    if nobody:
      given = ", ".join(PASSED[family]) or "nothing"
      raise Refused(
        f"kind={kind!r}: {found.node.name}({', '.join(nobody)}) is given by nobody; the builder gives {given}; "
        "make it an option with a default: *, name: int = 1"
      )


def _build_on(family: str) -> str:
  if family not in INTERFACES:
    return "give a class of flax.nnx.Module with a __call__"
  file, name = INTERFACES[family]
  return f"build it on {name} of {file}"


def _relative(path: Path) -> str:
  return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def _below(family: str, found: Found) -> tuple[list[Found], bool]:
  """The class and those above it that stand below the family's interface; and whether nothing else is there."""
  above, whole = source.chain(found)
  own = [one for one in above if (_relative(one.path), one.node.name) != INTERFACES.get(family)]
  return own, whole


def _hooks(found: Found) -> frozenset[str] | None:
  """Where a position scheme acts: the hooks that it, or a class above it, overrides."""
  own, whole = _below("position", found)
  return frozenset(name for one in own for name in source.methods(one.node) if name in HOOKS) if whole else None


def _defines(family: str, found: Found) -> frozenset[str] | None:
  own, whole = _below(family, found)
  return frozenset(name for one in own for name in source.methods(one.node)) if whole else None


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
  given = _stating(kind, path, word, name, stat.st_mtime_ns, stat.st_size)
  if len(given) != 1:
    return None
  return _plain(given[0], values or {}) if isinstance(given[0], ast.expr) else given[0]


@functools.lru_cache(maxsize=512)
def _stating(kind: str, path: Path, word: str, name: str, changed: int, size: int) -> list:
  """All that the nearest class gives an attribute: expressions, a literal's value, or None for what is neither."""
  del changed, size  # only part of the cache's key
  for above in source.chain(_class(kind, path, word))[0]:
    given = [_given(node, name) for node in ast.walk(above.node) if _gives(node, name)]
    if given:
      return given
    if name in (attributes := _attributes(above.node)):
      return [attributes[name]]
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


def suggestion(word: str, allowed: Iterable[object]) -> str:
  """That of the schema; of keys that end alike the nearest: model.atention.kind means model.attention.kind."""
  words = [str(one) for one in allowed]
  if "." in word:
    words.sort(key=lambda one: difflib.SequenceMatcher(None, one, word).ratio(), reverse=True)
  return schema.suggestion(word, words)


def existing(file: str | Path) -> Path | None:
  """The absolute path of a file, None when it is none, or can be none."""
  try:
    path = Path(file).expanduser()
    return path.resolve() if path.is_file() else None
  except (OSError, ValueError, RuntimeError):
    return None  # too long, a NUL in it, or the home of nobody


def _options(found: Found, ranged: bool) -> dict[str, dict]:
  """The options of __init__, its own or the nearest base's that can be read: its keyword-only parameters."""
  for above in source.chain(found)[0]:
    init = next((n for n in above.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
      pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
      ranges = _ranges(init) if ranged else {}
      return {
        a.arg: _option(above.node.name, a, default) | ranges.get(a.arg, {})
        for a, default in pairs
        if a.arg not in GIVEN
      }
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
  except (TypeError, ValueError):
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


def _attributes(found: ast.ClassDef | ast.FunctionDef) -> dict:
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


def _supports(found: Found) -> Mapping[str, object]:
  """What a mechanism supports: the defaults of Supports in mechanism.py, and its own keywords over them.

  Those of the nearest class above that says it; empty where it is computed.
  """
  declared = source.find_class(source.tree_of(ROOT / FOLDERS["attention"] / "mechanism.py"), "supports")
  values = _attributes(declared) if declared is not None else {}
  above, whole = source.chain(found)
  for one in above:
    for node in one.node.body:
      if not isinstance(node, ast.Assign | ast.AnnAssign) or "supports" not in source.methods(_only(node)):
        continue
      call = node.value
      if not (isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "Supports"):
        return {}
      return values | {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if keyword.arg and isinstance(keyword.value, ast.Constant)
      }
  return values if whole else {}


def _reads_source(found: Found) -> bool | None:
  """Whether the vocabulary of a task has fields of a source sequence; None where its source does not say."""
  for above in _below("tasks", found)[0]:
    calls = [n for n in ast.walk(above.node) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Vocabulary"]
    given = [call.args[3] for call in calls if len(call.args) > 3]
    given += [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "source"]
    if any(not isinstance(value, ast.Tuple) for value in given):
      return None
    if calls:
      return any(isinstance(value, ast.Tuple) and value.elts for value in given)
  return None


def _only(node: ast.stmt) -> ast.ClassDef:
  """A class with one statement, to be asked what it defines."""
  return ast.ClassDef(name="", bases=[], keywords=[], body=[node], decorator_list=[])
