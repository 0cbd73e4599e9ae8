"""Numbers as text: three significant digits, one style everywhere; "nan" and "inf" of stored rows are understood."""

import math
import re
from collections.abc import Sequence

NONE = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def value(x) -> float:
  """A stored number as a float: None is NaN, the strings "nan", "inf" and "-inf" are what they say."""
  if x is None:
    return math.nan
  try:
    return float(x)
  except (TypeError, ValueError):
    return math.nan


def number(x, digits: int = 3) -> str:
  """Three significant digits: 0.0123, 1.23, 12,300, 1.23e-07; whole numbers below a million are not rounded."""
  if x is None:
    return NONE
  x = value(x)
  if not math.isfinite(x):
    return "nan" if math.isnan(x) else ("inf" if x > 0 else "-inf")
  if x == 0:
    return "0"
  if x == int(x) and abs(x) < 1e6:
    return f"{int(x):,}"
  if not 1e-4 <= abs(x) < 1e6:
    return f"{x:.{digits - 1}e}"
  decimals = digits - 1 - math.floor(math.log10(abs(x)))
  rounded = round(x, decimals)
  return f"{rounded:,.{max(0, decimals)}f}"


def short(x) -> str:
  """Three digits without trailing zeros, for numbers that somebody declared: 0.1, 0.0029, 3e-05."""
  if x is None:
    return NONE
  x = value(x)
  return f"{x:.3g}" if math.isfinite(x) else number(x)


def pretty(text: str) -> str:
  """Typeset figures: a true minus sign before numbers and 10⁻⁷ for e-07."""
  text = re.sub(r"e([+-])0*(\d+)", lambda m: "×10" + (m[1].replace("+", "") + m[2]).translate(_RAISED), text)
  return re.sub(r"(?<![\w.)])-(?=\d|inf)", "−", text)


def aligned(values: Sequence, digits: int = 3) -> list[str]:
  """Numbers that stand together (an effect and its interval), all with the decimals that the largest needs."""
  finite = [abs(v) for v in map(value, values) if math.isfinite(v)]
  top = max(finite, default=0.0)
  if top == 0 or not 1e-4 <= top < 1e6:
    return [number(v, digits) for v in values]
  decimals = max(0, digits - 1 - math.floor(math.log10(top)))
  return [
    number(v, digits) if not math.isfinite(value(v)) else f"{round(value(v), decimals) + 0.0:,.{decimals}f}"
    for v in values
  ]


def effect(middle, ci) -> str:
  """`0.590 [0.550, 0.620]`; without an interval the number alone."""
  if middle is None:
    return NONE
  if not ci:
    return number(middle)
  text, low, high = aligned([middle, *ci])
  return f"{text} [{low}, {high}]"


def duration(seconds) -> str:
  """0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
  s = value(seconds)
  if not math.isfinite(s):
    return NONE
  if s < 10:
    return f"{number(s)} s"
  s = round(s)
  if s < 60:
    return f"{s} s"
  if s < 3600:
    return f"{s // 60} min {s % 60} s" if s % 60 else f"{s // 60} min"
  return f"{s // 3600} h {s % 3600 // 60} min"


def quantity(x, unit: str = "") -> str:
  """Three digits with an SI prefix: 1.23 M, 45.6 G; below one: 12.3 ms."""
  v = value(x)
  if not math.isfinite(v) or v == 0:
    return f"{number(x)} {unit}".strip()
  for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
    if abs(v) >= scale:
      return f"{number(v / scale)} {prefix}{unit}".strip()
  return f"{number(v)} {unit}".strip()


def capital(text: str) -> str:
  """The text with its first letter large."""
  return text[:1].upper() + text[1:]


def plain(text) -> str:
  """One printable line: control characters and line breaks become spaces."""
  return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
