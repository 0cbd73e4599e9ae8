"""Lists of points: a point is the overrides {dotted key: value} that make it differ from its card."""

import functools
import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs import Refused, values

FOLDER = Path(__file__).resolve().parent

Point = dict[str, object]
Axes = Mapping[str, Sequence] | Sequence[Mapping]  # {key: values} crossed with one another, or points made before


def product(*axes: Axes) -> list[Point]:
  """Every combination, the last key moving fastest: {"a": [1, 2], "b": [3, 4]} gives four points."""
  return [_merged(parts) for parts in itertools.product(*(part for group in axes for part in _expand(group)))]


def zipped(*axes: Axes) -> list[Point]:
  """Side by side: {"a": [1, 2], "b": [3, 4]} gives two points. Raises Refused for unequal lengths."""
  columns = [part for group in axes for part in _expand(group)]
  if len({len(column) for column in columns}) > 1:
    raise Refused(f"zipped axes have {', '.join(str(len(c)) for c in columns)} values; give each as many")
  return [_merged(parts) for parts in zip(*columns, strict=True)]


def chain(*axes: Axes) -> list[Point]:
  """One after the other: points, then more points."""
  return [point for group in axes for point in product(group)]


def axis(text: str) -> dict[str, list[str]]:
  """Reads "model.heads=1,2,4" as {"model.heads": ["1", "2", "4"]}; override.apply gives the values their type.

  A comma always parts two points; a value that holds commas stands in parentheses or brackets. So "anchors=(0,1),(2,3)"
  is two points, "anchors=(),0,1" three, of no, one and one anchor.
  """
  key, equals, given = text.removeprefix("--").removeprefix("config.").partition("=")
  found = split(given, f"axis {text!r}")
  if not equals or not key.strip() or not all(found):
    raise Refused(f"axis {text!r} is not key=value,value; write for instance model.heads=1,2,4")
  if len({value.replace(" ", "") for value in found}) < len(found):
    raise Refused(f"axis {text!r} names a value twice; name each once")
  return {key.strip(): found}


def split(text: str, owner: str) -> list[str]:
  """The parts of "a,(b,c)" at its commas, those in parentheses or brackets left alone; Refused, naming the owner."""
  try:
    return values.split(text)
  except ValueError as error:
    raise Refused(f"{owner}: {error}") from None


@functools.cache
def cards() -> tuple[str, ...]:
  """Names of our cards: the files here that define a sweep."""
  names = [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem != "sweep"]
  return tuple(name for name in names if "\ndef sweep(" in (FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def listing() -> list[dict]:
  """What `assay list configs` shows: name, file, asks, command, expected, minutes, points of every card."""
  items = []
  for name in cards():
    card = importlib.import_module(f"configs.{name}")
    items.append(
      {
        "name": name,
        "file": f"configs/{name}.py",
        "asks": card.ASKS,
        "command": card.COMMAND,
        "expected": card.EXPECTED,
        "minutes": card.MINUTES,
        "points": len(card.sweep()),
      }
    )
  return items


def _expand(group: Axes) -> list[list[Point]]:
  """A mapping is one column per key, a list of points is one column."""
  if isinstance(group, Mapping):
    return [[{key: value} for value in values] for key, values in group.items()]
  return [[dict(point) for point in group]]


def _merged(parts: Sequence[Point]) -> Point:
  merged: Point = {}
  for part in parts:
    twice = merged.keys() & part.keys()
    if twice:
      raise Refused(f"{', '.join(sorted(twice))} stands on two axes; name each key once")
    merged.update(part)
  return merged
