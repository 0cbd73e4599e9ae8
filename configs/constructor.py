"""What a constructor does with its options, found in its source: what it refuses, and which it hands to `dial`.

A rule `if pairs > keys: raise Refused(...)` over plain options stands in one place, the constructor, and yet is told
before anything is imported, in the same words. Only what is certain is told: where a value cannot be known without
running the code, reading stops or goes on without it.
"""

import ast
import contextlib
import math
import operator
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from configs import source
from configs.source import Found

CALLS = 6  # functions within each other
LOOPS = 100  # rounds of a loop
BITS = 4096  # size of a power
BUILTINS = {
  f.__name__: f for f in (abs, all, any, bool, dict, float, int, len, max, min, round, set, sorted, str, sum, tuple)
}
TYPES = {"int": int, "float": float, "bool": bool, "str": str, "tuple": tuple, "list": list}
MATH = {name: getattr(math, name) for name in ("inf", "pi", "log", "log2", "sqrt", "ceil", "floor", "isfinite", "prod")}
OPERATORS = {
  ast.Add: operator.add,
  ast.Sub: operator.sub,
  ast.Mult: operator.mul,
  ast.Div: operator.truediv,
  ast.FloorDiv: operator.floordiv,
  ast.Mod: operator.mod,
  ast.Pow: operator.pow,
  ast.Eq: operator.eq,
  ast.NotEq: operator.ne,
  ast.Lt: operator.lt,
  ast.LtE: operator.le,
  ast.Gt: operator.gt,
  ast.GtE: operator.ge,
  ast.In: lambda a, b: a in b,
  ast.NotIn: lambda a, b: a not in b,
  ast.Is: operator.is_,
  ast.IsNot: operator.is_not,
  ast.BitAnd: operator.and_,
  ast.BitOr: operator.or_,
}
UNARY = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos}

HARMLESS = ("float", "math", "jnp", "np")  # what may be called on an option on its way into a dial
PEEKING = ("locals", "vars", "eval", "exec", "globals")  # functions that read a value without its name
WITHIN = ("get_metadata", "given", "__dict__")  # attributes that read what a dial was made of


class _Unknown(Exception):
  """A value that only running the code can tell."""


class _Refusal(Exception):
  """The code refuses; the message is in its own words."""


class _Return(Exception):
  def __init__(self, value: object):
    super().__init__()
    self.value = value


UNKNOWN = object()


class _Itself(dict):
  """What `self` has been given so far."""


class Scheme:
  """What `check` of a mechanism may ask of a position scheme: which of the hooks it acts on."""

  def __init__(self, hooks: frozenset[str]):
    self.hooks = hooks


def refusal(found: Found, given: Mapping[str, object], scheme: Scheme | None = None) -> str | None:
  """Why this class refuses to be built from `given`, or to work with a position scheme; None if it does not say so."""
  itself = _Itself()
  try:
    _construct(found, dict(given), itself, CALLS)
    if scheme is not None:
      _checked(found, itself, scheme)
  except _Refusal as refused:
    return " ".join(str(refused).split())
  except (_Unknown, _Return, RecursionError):
    return None  # it does not say so where it can be read
  return None


def _construct(found: Found, given: dict, itself: _Itself, depth: int) -> None:
  """Runs the nearest __init__ of a class."""
  for above in source.chain(found)[0]:
    init = _method(above, "__init__")
    if init is not None:
      names = {"self": itself, **_bound(init, above, [], given, depth, skip=1)}
      _Run(above, names, depth).body(init.body)
      return


def _checked(found: Found, itself: _Itself, scheme: Scheme) -> None:
  """Runs what a class of its own says in `check`; the rules that all mechanisms share are in check.py."""
  check = _method(found, "check")
  if check is not None:
    _Run(found, {"self": itself, "scheme": scheme, "rule": None, "block": None}, CALLS).body(check.body)


def _method(found: Found, name: str) -> ast.FunctionDef | None:
  return next((n for n in found.node.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def _bound(function: ast.FunctionDef, owner: Found, positional: list, named: Mapping, depth: int, skip: int = 0):
  """Names and values of the parameters of a call; UNKNOWN for what was neither given nor has a default to be read."""
  arguments, names = function.args, {}
  ordered = [*arguments.posonlyargs, *arguments.args][skip:]
  run = _Run(owner, {}, depth)
  for parameter, default in zip(reversed(ordered), reversed(arguments.defaults), strict=False):
    names[parameter.arg] = run.maybe(default)
  for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
    if default is not None:
      names[parameter.arg] = run.maybe(default)
  every = [parameter.arg for parameter in (*ordered, *arguments.kwonlyargs)]
  names |= dict(zip((parameter.arg for parameter in ordered), positional, strict=False))
  names |= {name: value for name, value in named.items() if name in every}
  return {name: names.get(name, UNKNOWN) for name in every}


class _Run:
  """One function, statement by statement."""

  def __init__(self, owner: Found, names: dict[str, Any], depth: int):
    self.owner, self.names, self.depth = owner, names, depth

  def body(self, statements: list[ast.stmt]) -> None:
    for statement in statements:
      self.statement(statement)

  def statement(self, node: ast.stmt) -> None:
    match node:
      case ast.Expr(value=value):
        self.maybe(value)
      case ast.Assign(targets=targets, value=value):
        for target in targets:
          self.assign(target, value)
      case ast.AnnAssign(target=target, value=value) if value is not None:
        self.assign(target, value)
      case ast.AugAssign(target=target):
        self.put(target, UNKNOWN)
      case ast.If():
        self.branch(node)
      case ast.For(target=target, iter=iterated, body=body, orelse=[]):
        rounds = self.value(iterated)
        if not isinstance(rounds, tuple | list) or len(rounds) > LOOPS:
          raise _Unknown
        for one in rounds:
          self.put(target, one)
          self.body(body)
      case ast.Return(value=value):
        raise _Return(None if value is None else self.maybe(value))
      case ast.Raise(exc=ast.Call(func=kind, args=[message])) if ast.unparse(kind).endswith("Refused"):
        raise _Refusal(self.text(message))
      case ast.Pass() | ast.Delete() | ast.Assert() | ast.Import() | ast.ImportFrom():
        pass
      case ast.FunctionDef(name=name):
        self.names[name] = UNKNOWN
      case _:
        raise _Unknown

  def branch(self, node: ast.If) -> None:
    try:
      chosen = node.body if self.value(node.test) else node.orelse
    except _Unknown:
      inside = [part for side in (node.body, node.orelse) for statement in side for part in ast.walk(statement)]
      if any(isinstance(part, ast.Return | ast.Break | ast.Continue) for part in inside):
        raise
      for part in inside:
        if isinstance(part, ast.Name | ast.Attribute) and isinstance(part.ctx, ast.Store):
          self.put(part, UNKNOWN)
      return
    self.body(chosen)

  def assign(self, target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
      # one by one: what is not known of the first says nothing of the second
      for part, one in [(part, self.maybe(one)) for part, one in zip(target.elts, value.elts, strict=True)]:
        self.put(part, one)
    else:
      self.put(target, self.maybe(value))

  def put(self, target: ast.expr, value: object) -> None:
    match target:
      case ast.Name(id=name):
        self.names[name] = value
      case ast.Attribute(value=ast.Name(id="self"), attr=name) if "self" in self.names:
        self.names["self"][name] = value
      case ast.Tuple(elts=parts):
        known = isinstance(value, tuple | list) and len(value) == len(parts)
        for part, one in zip(parts, value if known else [UNKNOWN] * len(parts), strict=True):  # type: ignore[arg-type]
          self.put(part, one)

  def maybe(self, node: ast.expr) -> object:
    """The value, or UNKNOWN."""
    try:
      return self.value(node)
    except _Unknown:
      return UNKNOWN

  def value(self, node: ast.expr) -> Any:
    """The value of an expression; _Unknown where it cannot be told, and where it would fail."""
    try:
      found = self._value(node)
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError):
      raise _Unknown from None
    if found is UNKNOWN:
      raise _Unknown
    return found

  def _value(self, node: ast.expr) -> Any:
    match node:
      case ast.Constant(value=value):
        return value
      case ast.Name(id=name):
        return self.name(name)
      case ast.Attribute(value=ast.Name(id="math"), attr=name):
        return MATH[name]
      case ast.Attribute(value=ast.Name(id="self"), attr=name) if "self" in self.names:
        return self.names["self"][name]
      case ast.Tuple(elts=parts) | ast.List(elts=parts):
        return tuple([self.value(part) for part in parts])
      case ast.Set(elts=parts):
        return {self.value(part) for part in parts}
      case ast.JoinedStr():
        return self.text(node)
      case ast.UnaryOp(op=op, operand=operand):
        return UNARY[type(op)](self.value(operand))
      case ast.BinOp(left=left, op=op, right=right):
        return _binary(op, self.value(left), self.value(right))
      case ast.BoolOp(op=op, values=values):
        return self.junction(values, stop=isinstance(op, ast.Or))
      case ast.Compare(left=left, ops=ops, comparators=others):
        return self.compare(left, ops, others)
      case ast.IfExp(test=test, body=body, orelse=orelse):
        return self.value(body if self.value(test) else orelse)
      case ast.Call():
        return self.call(node)
      case _:
        raise _Unknown

  def name(self, name: str) -> Any:
    if name in self.names:
      return self.names[name]
    given = source.constant(name, self.owner.path)
    if given is None:
      raise _Unknown
    return _Run(self.owner, {}, self.depth).value(given)

  def junction(self, values: list[ast.expr], stop: bool) -> Any:
    found: Any = not stop
    for value in values:
      found = self.value(value)
      if bool(found) is stop:
        return found
    return found

  def compare(self, left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr]) -> bool:
    before = self.value(left)
    for op, other in zip(ops, others, strict=True):
      after = self.value(other)
      if not OPERATORS[type(op)](before, after):
        return False
      before = after
    return True

  def call(self, node: ast.Call) -> Any:
    if any(isinstance(part, ast.Starred) for part in node.args) or any(part.arg is None for part in node.keywords):
      raise _Unknown
    match node.func:
      case ast.Attribute(value=ast.Name(id=word), attr="acts") if isinstance(self.names.get(word), Scheme):
        return self.value(node.args[0]) in self.names[word].hooks
      case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
        return self.parent(node)
      case ast.Attribute(value=ast.Constant(value=str(between)), attr="join"):
        return between.join(self.value(node.args[0]))
      case ast.Name(id="isinstance"):
        return self.is_instance(*node.args)
      case ast.Name(id=word) if word in BUILTINS and word not in self.names:
        values = [self.value(part) for part in node.args]
        return BUILTINS[word](*values, **{part.arg: self.value(part.value) for part in node.keywords if part.arg})
      case ast.Attribute(value=ast.Name(id="math"), attr=word):
        return MATH[word](*[self.value(part) for part in node.args])
    found = source.resolve(node.func, self.owner.path)
    arguments = [self.maybe(part) for part in node.args]  # in any case: what they call may refuse
    named = {part.arg: self.maybe(part.value) for part in node.keywords if part.arg}
    if found is None or not isinstance(found.node, ast.FunctionDef) or not self.depth:
      raise _Unknown
    return _returned(found, arguments, named, self.depth - 1)

  def parent(self, node: ast.Call) -> None:
    """The constructor of the class above."""
    arguments = [self.maybe(part) for part in node.args]
    named = {part.arg: self.maybe(part.value) for part in node.keywords if part.arg}
    for above in source.chain(self.owner)[0][1:]:
      init = _method(above, "__init__")
      if init is not None and self.depth:
        names = {"self": self.names["self"], **_bound(init, above, arguments, named, self.depth, skip=1)}
        with contextlib.suppress(_Return, _Unknown):
          _Run(above, names, self.depth - 1).body(init.body)
        return

  def is_instance(self, value: ast.expr, kinds: ast.expr) -> bool:
    words = ast.unparse(kinds).strip("()").replace("|", ",").split(",")
    return isinstance(self.value(value), tuple(TYPES[word.strip()] for word in words))

  def text(self, node: ast.expr) -> str:
    """A message; what of it cannot be told stands there as it is written."""
    if not isinstance(node, ast.JoinedStr):
      found = self.maybe(node)
      return ast.unparse(node) if found is UNKNOWN else str(found)
    return "".join(self.part(part) for part in node.values)

  def part(self, node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
      return str(node.value)
    assert isinstance(node, ast.FormattedValue)
    found = self.maybe(node.value)
    if found is UNKNOWN:
      return ast.unparse(node.value)
    found = {114: repr, 115: str, 97: ascii}.get(node.conversion, lambda same: same)(found)
    spec = self.text(node.format_spec) if node.format_spec is not None else ""
    try:
      return format(found, spec)
    except (TypeError, ValueError):
      return str(found)


def _returned(found: Found, arguments: list, named: Mapping, depth: int) -> Any:
  assert isinstance(found.node, ast.FunctionDef)
  try:
    _Run(found, _bound(found.node, found, arguments, named, depth), depth).body(found.node.body)
  except _Return as returned:
    return returned.value
  return None


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
  """Of numbers, sets and short texts only, and no power that fills the memory."""
  if isinstance(op, ast.Mult) and not all(isinstance(side, int | float) for side in (left, right)):
    raise _Unknown
  if isinstance(op, ast.Pow) and abs(right) * math.log2(max(abs(left), 2)) > BITS:
    raise _Unknown
  if isinstance(op, ast.Mod) and isinstance(left, str):
    raise _Unknown
  return OPERATORS[type(op)](left, right)


# ---------------------------------------------------------------------------------------------------------------------
# Dials


def dials(found: Found, given: Collection[str]) -> frozenset[str]:
  """The options that this class's constructor in force hands to `dial`, and uses nowhere else; not those in `given`.

  Such a number can reach the program as an argument only, so that runs of one compiled program may differ in it. All
  that is less plain is compiled in, which costs time and never an answer; workers compare the models they build all
  the same.
  """
  chain, whole = source.chain(found)
  if not whole or any(_peeks(one.tree) or _altered(one.node) for one in chain):
    return frozenset()
  for one in chain:
    made = {part.name: part for part in one.node.body if isinstance(part, ast.FunctionDef)}
    if "__new__" in made:
      return frozenset()
    if "__init__" in made:
      init, names = made["__init__"], _names_of_dial(one.tree)
      options = (a for a in init.args.kwonlyargs if a.arg not in given and not init.decorator_list)
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
