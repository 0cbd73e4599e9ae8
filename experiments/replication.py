"""A verdict found again: how likely fresh seeds give the same one, and what a replication that was run says.

Expected: a mean of n new values lies around the old one with the spread s sqrt(2 / n), since both were drawn, so the
bound that decided falls on the same side of its minimum with probability F((bound - minimum) / (s sqrt(2 / n))) for
Student's F. The bound's distance from the mean is taken to stay. At the same number of seeds, for tests of seeds alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

AGREES, OPEN, CONTRADICTS = "agrees", "open", "contradicts"

Row = Mapping[str, Any]


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
  failed = [test for test in tests if test["outcome"] == "below"]
  found = [chance for test in failed or tests if (chance := _same_side(test)) is not None]
  if not found:
    return None
  return max(found) if failed else math.prod(found)


def _same_side(test: Row) -> float | None:
  """Chance that the test's bound falls on the same side of its minimum effect again."""
  if test["rule"] not in ("PERM", "TOST", "T") or test["outcome"] == "unclear" or test.get("detectable") is None:
    return None
  from experiments import stats

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
  from experiments import stats

  unit = stats.minimum_detectable_effect(1.0, test["n"], test["alpha"])
  if not (math.isfinite(test["detectable"]) and math.isfinite(unit)):
    return None
  return test["detectable"] / unit * math.sqrt(2 / test["n"])


# ---------------------------------------------------------------------------------------------------------------------
# A replication that was run


def agreement(row: Row, again: Row) -> str:
  """What another row of the same claim and tier, from other seeds, says of this one.

  "agrees": the same verdict (under the same condition). "contradicts": another decided verdict. "open": one of the two
  is inconclusive and the other is not.
  """
  if (row["verdict"], row["condition"]) == (again["verdict"], again["condition"]):
    return AGREES
  return OPEN if "inconclusive" in (row["verdict"], again["verdict"]) else CONTRADICTS


def entry(row: Row, again: Row, date: str) -> dict[str, Any]:
  """What a row keeps of a replication."""
  kept = ("verdict", "condition", "reason", "tests", "arms", "seeds", "look", "config_sha256", "code_sha256", "versions")
  return {"answer": agreement(row, again), **{name: again[name] for name in kept}, "date": date}


def with_entry(row: Row, found: Row) -> dict[str, Any]:
  """The row with one more replication; one of the same reporting seeds takes the place of the older."""
  others = [one for one in row.get("replications") or () if one["seeds"] != found["seeds"]]
  return {**row, "replications": sorted([*others, found], key=lambda one: one["seeds"]["reporting"])}


def told(row: Row) -> str:
  """`agrees (500-511)` for each replication of a row, answered anew against the row as it is now."""
  parts = []
  for one in row.get("replications") or ():
    seeds = one["seeds"]["reporting"]
    parts.append(f"{agreement(row, one)} ({min(seeds)}–{max(seeds)})")
  return ", ".join(parts)
