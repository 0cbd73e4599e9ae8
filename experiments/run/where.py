"""The language of `--where`: comparisons of keys with values, joined by and, or, not and parentheses.

    model.heads>=4 and status=done        not (model.attention.kind=dot or accuracy<0.5)

A key is a config key, a measure or a field of the listing; one with other signs stands in quotes. A value is a number,
a word, a text in quotes, or several in parentheses: (0,1). A run that lacks the key fulfils no comparison. Text is
parsed here and never evaluated.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from configs import slots
from model.errors import Refused

TOKEN = re.compile(
  r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|!=|==|=|<|>)|(?P<open>\()|(?P<close>\))"""
  r"""|(?P<word>[^\s()<>=!"',]+)|(?P<comma>,)|(?P<other>\S))"""
)
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
  "<": operator.lt,
  "<=": operator.le,
  ">": operator.gt,
  ">=": operator.ge,
}
JOINING = ("and", "or", "not")
DEEPEST = 50  # parentheses and nots within each other
EXAMPLE = "write for instance model.heads>=4 and status=done"

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Where:
  """A parsed condition: `names`, the keys that stand in it, and `holds(row)` for a row {key: value}."""

  text: str
  names: tuple[str, ...]
  holds: Callable[[Row], bool]

  def chosen(self, rows: Iterable[Row]) -> list[bool]:
    """Whether each row fulfils it. Raises Refused for a key that no row has, and for < or > between words."""
    rows = list(rows)
    known = list(dict.fromkeys(name for row in rows for name in row))
    for name in self.names if rows else ():
      if name not in known:
        fields = "workdir, command, trial, status, cause, steps, seconds, stale, changed"
        kinds = f"config keys (model.heads), measures (accuracy) and {fields}"
        raise Refused(f"--where names {name!r}, which no run has: {slots.suggestion(name, known)}allowed: {kinds}")
    return [self.holds(row) for row in rows]


def parse(text: str) -> Where:
  """The condition that the text states. Raises Refused, saying where it cannot be read."""
  reader = _Reader(text)
  holds = reader.either(0)
  if reader.next.kind != "end":
    raise reader.fault("and, or, or the end")
  return Where(text, tuple(dict.fromkeys(reader.names)), holds)


class Token(NamedTuple):
  """A piece of the text and where it begins."""

  kind: str
  text: str
  at: int


class _Reader:
  """Reads from left to right: or binds least, then and, then not."""

  def __init__(self, text: str):
    self.text, self.names = text, []
    self.tokens = [*_tokens(text), Token("end", "", len(text))]
    self.place = 0

  @property
  def next(self) -> Token:
    return self.tokens[self.place]

  def take(self) -> Token:
    token = self.next
    self.place += token.kind != "end"
    return token

  def joins(self, word: str) -> bool:
    """Takes the word if it is next."""
    found = self.next.kind == "word" and self.next.text.lower() == word
    self.place += found
    return found

  def fault(self, wanted: str) -> Refused:
    shown = repr(self.next.text) if self.next.text else "the end"
    return Refused(f"--where={self.text!r}: {shown} at character {self.next.at + 1}, wanted {wanted}; {EXAMPLE}")

  def either(self, depth: int) -> Callable[[Row], bool]:
    parts = [self.both(depth)]
    while self.joins("or"):
      parts.append(self.both(depth))
    return lambda row: any(part(row) for part in parts)

  def both(self, depth: int) -> Callable[[Row], bool]:
    parts = [self.single(depth)]
    while self.joins("and"):
      parts.append(self.single(depth))
    return lambda row: all(part(row) for part in parts)

  def single(self, depth: int) -> Callable[[Row], bool]:
    if depth > DEEPEST:
      raise Refused(f"--where nests more than {DEEPEST} deep; {EXAMPLE}")
    if self.joins("not"):
      inner = self.single(depth + 1)
      return lambda row: not inner(row)
    if self.next.kind == "open":
      self.take()
      inner = self.either(depth + 1)
      if self.take().kind != "close":
        self.place -= self.next.kind != "end"
        raise self.fault("')'")
      return inner
    return self.comparison()

  def comparison(self) -> Callable[[Row], bool]:
    if self.next.kind not in ("word", "quoted") or self.next.text.lower() in JOINING:
      raise self.fault("a key")
    name = _unquoted(self.take())
    if self.next.kind != "sign":
      raise self.fault("one of = != < <= > >=")
    sign = self.take().text
    value = self.value()
    self.names.append(name)
    if sign in COMPARE:
      if not isinstance(value, Number):
        raise Refused(f"--where={self.text!r}: {name}{sign} needs a number; use = or != for words")
      return lambda row: _ordered(row, name, sign, value)
    return lambda row: name in row and _equal(row[name], value) == (sign != "!=")

  def value(self) -> Any:
    if self.next.kind == "open":
      return self.several()
    if self.next.kind not in ("word", "quoted"):
      raise self.fault("a number, a word, a text in quotes or values in parentheses")
    return _literal(self.take())

  def several(self) -> tuple:
    self.take()
    found = []
    while self.next.kind != "close":
      if self.next.kind not in ("word", "quoted"):
        raise self.fault("a value or ')'")
      found.append(_literal(self.take()))
      if self.next.kind == "comma":
        self.take()
      elif self.next.kind != "close":
        raise self.fault("',' or ')'")
    self.take()
    return tuple(found)


class Number(float):
  """A number as it was written: it equals numbers, and words that are spelled so."""

  text: str

  @classmethod
  def read(cls, text: str) -> "Number":
    made = cls(text)
    made.text = text
    return made


def _tokens(text: str) -> list[Token]:
  found, at = [], 0
  while text[at:].strip():
    match = TOKEN.match(text, at)
    assert match is not None
    kind = str(match.lastgroup)
    begins = match.start(kind)
    if kind == "other":
      raise Refused(f"--where={text!r}: {match[kind]!r} at character {begins + 1} means nothing here; {EXAMPLE}")
    found.append(Token(kind, match[kind], begins))
    at = match.end()
  return found


def _unquoted(token: Token) -> str:
  return token.text[1:-1] if token.kind == "quoted" else token.text


def _literal(token: Token) -> Any:
  """A number where an unquoted word is one, else the text."""
  if token.kind == "word" and "_" not in token.text:
    try:
      return Number.read(token.text)
    except ValueError:
      return token.text
  return _unquoted(token)


def _equal(held: Any, value: Any) -> bool:
  if isinstance(held, list | tuple):
    given = value if isinstance(value, tuple) else (value,)
    return len(held) == len(given) and all(map(_equal, held, given))
  if isinstance(value, tuple):
    return False
  if _is_number(held):
    same = float(held) == value or (math.isnan(held) and isinstance(value, Number) and math.isnan(value))
    return isinstance(value, Number) and same
  written = value.text if isinstance(value, Number) else value
  if held is None or isinstance(held, bool):
    return written.lower() == str(held).lower()
  return str(held) == written


def _ordered(row: Row, name: str, sign: str, value: float) -> bool:
  held = row.get(name)
  if held is None:
    return False
  if not _is_number(held):
    raise Refused(f"--where: {name} is {held!r} in one run, no number; compare it with = or !=")
  return COMPARE[sign](held, float(value))


def _is_number(held: Any) -> bool:
  return isinstance(held, int | float) and not isinstance(held, bool)
