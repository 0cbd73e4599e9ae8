"""Types of configuration values, written as in a signature: "int", "float | None", "tuple[int, ...]".

There is no union of strings and numbers, so a text from the command line has one reading for each type. Numbers are
plain: digits of ASCII, no underscores, no hexadecimal, and a whole number is written without a point or an exponent.
"""

import re
from typing import Any

from configs import Refused

NONE = " | None"
SCALARS = ("int", "float", "bool", "str")
INT_LIMIT = 2**31 - 1  # what fits a traced int32
LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38  # float32 without its subnormals, which chips flush
WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
REAL = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?")
PAIRS = {"(": ")", "[": "]"}


def type_of(value) -> str:
  """The type of a default: 0.1 -> "float", None -> "float | None", () -> "tuple[str, ...]"."""
  if value is None:
    return "float" + NONE
  if isinstance(value, list | tuple):
    return f"tuple[{type_of(value[0]) if value else 'str'}, ...]"
  return type(value).__name__


def known(kind: str) -> bool:
  """Whether a configuration can hold this type."""
  inner = _item(kind)
  return kind.removesuffix(NONE) in SCALARS or inner in SCALARS


def conform(value, kind: str) -> Any:
  """`value` as the type `kind`; an int may stand for a float. Raises ValueError with what is allowed."""
  if kind.endswith(NONE):
    return None if value is None else conform(value, kind.removesuffix(NONE))
  item = _item(kind)
  if item:
    if not isinstance(value, list | tuple):
      raise ValueError(f"allowed: {describe(kind)}")
    return tuple(conform(part, item) for part in value)
  plain_number = isinstance(value, int | float) and not isinstance(value, bool)
  if kind == "float" and plain_number:
    return real32(value)
  if kind == "int" and plain_number and isinstance(value, int):
    if abs(value) > INT_LIMIT:
      raise ValueError(f"allowed: a whole number of at most {INT_LIMIT} in size")
    return value
  if (kind == "bool" and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
    return value
  raise ValueError(f"allowed: {describe(kind)}")


def whole(name: str, value: Any, low: int, high: int = INT_LIMIT) -> int:
  """The whole number of Python's or numpy's that `value` is; Refused, naming it, outside of its range."""
  if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= int(value) <= high:
    raise Refused(f"{name}={value!r}; allowed: a whole number from {low} to {high}")
  return int(value)


def parse(text: str, kind: str) -> Any:
  """Reads a text of the command line as the type `kind`; a tuple may stand in parentheses or brackets: 0,1 or (0,1).

  Raises ValueError with what is allowed.
  """
  if kind.endswith(NONE):
    return None if text.lower() == "none" else parse(text, kind.removesuffix(NONE))
  item = _item(kind)
  if item:
    return tuple(parse(part.strip(), item) for part in _parts(text.strip(), kind))
  if kind == "str":
    return text
  if kind == "bool" and text.lower() in ("true", "false"):
    return text.lower() == "true"
  if kind == "int" and WHOLE.fullmatch(text):
    return conform(int(text), kind)
  if kind == "float" and REAL.fullmatch(text):
    return conform(float(text), kind)
  raise ValueError(f"allowed: {describe(kind)}")


def real32(value: int | float) -> float:
  """A number that float32 holds: finite, and 0 or no nearer to 0 than its smallest; else ValueError."""
  number = float(value) if abs(value) <= LARGEST else None  # false for NaN too
  if number is None:
    raise ValueError(f"allowed: a finite number of float32, at most {LARGEST:.4g} in size")
  if 0 < abs(number) < SMALLEST:
    raise ValueError(f"allowed: 0, or a number of float32 that is no nearer to 0 than {SMALLEST:.4g}")
  return number


def split(text: str) -> list[str]:
  """The parts of "a,(b,c),d" at its commas, those in parentheses or brackets left alone: ["a", "(b,c)", "d"].

  Raises ValueError where parentheses do not pair.
  """
  parts, open_ = [""], []
  for letter in text:
    if letter == "," and not open_:
      parts.append("")
      continue
    if letter in PAIRS:
      open_.append(PAIRS[letter])
    elif letter in PAIRS.values() and (not open_ or open_.pop() != letter):
      raise ValueError(f"{letter!r} closes nothing; write one value with commas as (0,1), several as (0,1),(2,3)")
    parts[-1] += letter
  if open_:
    raise ValueError(f"{open_[-1]!r} is missing; write one value with commas as (0,1), several as (0,1),(2,3)")
  return [part.strip() for part in parts]


def describe(kind: str) -> str:
  """The type in words."""
  words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
  item = _item(kind)
  if item:
    return f"{words.get(item, item)} or several, separated by commas: 0,1 or (0,1), and () for none"
  return words.get(kind.removesuffix(NONE), kind) + (" or none" if kind.endswith(NONE) else "")


def _item(kind: str) -> str:
  """The item type of a tuple type, "" for any other."""
  return kind.removeprefix("tuple[").removesuffix(", ...]") if kind.startswith("tuple[") else ""


def _parts(text: str, kind: str) -> list[str]:
  """The items of a tuple's text: none of "" and "()", two of "0,1" and "(0, 1)"; one comma may end them."""
  if text[:1] in PAIRS and text[-1:] != PAIRS[text[0]]:
    raise ValueError(f"{PAIRS[text[0]]!r} is missing; allowed: {describe(kind)}")
  inner = (text[1:-1] if text[:1] in PAIRS else text).strip()
  if not inner:
    return []
  return split(inner.removesuffix(","))
