"""Types of configuration values, written as in a signature: "int", "float | None", "tuple[int, ...]".

There is no union of strings and numbers, so a text from the command line has one reading for each type.
"""

import math

NONE = " | None"
SCALARS = ("int", "float", "bool", "str")
INT_LIMIT = 2**31 - 1  # what fits a traced int32


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


def conform(value, kind: str):
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
    return _finite(value)
  if kind == "int" and plain_number and isinstance(value, int):
    if abs(value) > INT_LIMIT:
      raise ValueError(f"allowed: a whole number of at most {INT_LIMIT} in size")
    return value
  if (kind == "bool" and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
    return value
  raise ValueError(f"allowed: {describe(kind)}")


def parse(text: str, kind: str):
  """Reads a text of the command line as the type `kind`. Raises ValueError with what is allowed."""
  if kind.endswith(NONE):
    return None if text.lower() == "none" else parse(text, kind.removesuffix(NONE))
  item = _item(kind)
  if item:
    inner = text.strip().removeprefix("(").removesuffix(")").rstrip(",")
    return tuple(parse(part.strip(), item) for part in inner.split(",")) if inner else ()
  if kind == "str":
    return text
  if kind == "bool" and text.lower() in ("true", "false"):
    return text.lower() == "true"
  if kind in ("int", "float"):
    try:
      number = int(text) if kind == "int" else float(text)
    except ValueError:
      raise ValueError(f"allowed: {describe(kind)}") from None
    return conform(number, kind)
  raise ValueError(f"allowed: {describe(kind)}")


def describe(kind: str) -> str:
  """The type in words."""
  words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
  item = _item(kind)
  if item:
    return f"{words.get(item, item)} or several, separated by commas"
  return words.get(kind.removesuffix(NONE), kind) + (" or none" if kind.endswith(NONE) else "")


def _item(kind: str) -> str:
  """The item type of a tuple type, "" for any other."""
  return kind.removeprefix("tuple[").removesuffix(", ...]") if kind.startswith("tuple[") else ""


def _finite(value) -> float:
  try:
    number = float(value)
  except OverflowError:
    number = math.inf
  if not math.isfinite(number):
    raise ValueError("allowed: a finite number")
  return number
