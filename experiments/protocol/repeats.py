"""How likely fresh seeds give a verdict again, and whether that is likely enough to stop looking.

A mean of n new values lies around the old one with the spread s sqrt(2 / n), since both were drawn, so the bound that
decided falls on the same side of its minimum with probability F((bound - minimum) / (s sqrt(2 / n))) for Student's F.
The bound's distance from the mean is taken to stay. At the same number of seeds, for tests of seeds alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

ENOUGH = 0.8  # a decision that fresh seeds would repeat less often is looked at again while there are looks left

Row = Mapping[str, Any]


def is_sure(row: Row) -> bool:
  """Whether a row's decision is one to stop at, as far as its seeds can tell; an open row has none."""
  chance = expected(row)
  return row["verdict"] != "inconclusive" and (chance is None or chance >= ENOUGH)


def expected(row: Row) -> float | None:
  """Probability that as many fresh seeds give the row's verdict again; None where no test of seeds decided it."""
  if row.get("verdict") not in ("reproduced", "refuted", "conditional"):
    return None
  cells: dict[str | None, list[Row]] = {}
  for test in row.get("tests") or ():
    if test.get("role", "primary") == "primary":
      cells.setdefault(test.get("cell"), []).append(test)
  parts = [_cell(tests) for tests in cells.values()]
  if row["verdict"] == "conditional":
    parts += [_same_side(test) for test in row["tests"] if test.get("role") == "interaction"]
  known = [part for part in parts if part is not None]
  return math.prod(known) if known else None


def _cell(tests: Sequence[Row]) -> float | None:
  """A conjunction holds again when every part does, and fails again when one that failed does."""
  failed = [test for test in tests if test.get("outcome") == "below"]
  found = [chance for test in failed or tests if (chance := _same_side(test)) is not None]
  if not found:
    return None
  return max(found) if failed else math.prod(found)


def _same_side(test: Row) -> float | None:
  """Chance that the test's bound falls on the same side of its minimum effect again."""
  if test.get("outcome") not in ("above", "below") or test.get("detectable") is None:
    return None
  from experiments.protocol import stats

  spread, (low, high), minimum = _spread(test), test["bound"], test["minimum_effect"]
  if spread is None:
    return None
  above = lambda distance: stats.student(distance / spread, test["n"] - 1) if spread else float(distance > 0)  # noqa: E731
  if test["rule"] == "TOST" and test["outcome"] == "above":
    return max(above(low + minimum) + above(minimum - high) - 1.0, 0.0)
  if test["rule"] == "TOST":
    return max(above(low - minimum), above(-minimum - high))
  return above(low - minimum) if test["outcome"] == "above" else above(minimum - high)


def _spread(test: Row) -> float | None:
  """Standard deviation of the difference of two such means: of the values, from the detectable effect, by sqrt(2/n)."""
  from experiments.protocol import stats

  unit = stats.minimum_detectable_effect(1.0, test["n"], test["alpha"])
  if not (math.isfinite(test["detectable"]) and math.isfinite(unit)):
    return None
  return test["detectable"] / unit * math.sqrt(2 / test["n"])
