"""Tables of a page as CSV files that are part of the page: a link holds the whole text, nothing is fetched."""

import csv
import io
import math
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.pages import numbers, verdicts
from experiments.pages.report import Comparison, Outcome, StudyPlot

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a text that begins so is a formula to a spreadsheet
DIGITS = 10

Cells = Sequence[Any]


def link(name: str, heads: Sequence[str], rows: Iterable[Cells]) -> dict[str, str]:
  """{"href", "name"} of a download: a data: URI with the table as CSV, numbers with all their digits."""
  file = re.sub(r"[^\w-]+", "-", numbers.plain(name)).strip("-") or "table"
  return {
    "href": f"data:text/csv;charset=utf-8,{urllib.parse.quote(text(heads, rows), safe=SAFE)}",
    "name": f"{file}.csv",
  }


SAFE = " !$()*,-./:;?@[]_~"  # characters that need no escape within a double-quoted attribute; what is shorter is read


def text(heads: Sequence[str], rows: Iterable[Cells]) -> str:
  """The table as CSV (RFC 4180, lines end with LF)."""
  out = io.StringIO()
  writer = csv.writer(out, lineterminator="\n")
  writer.writerow([_cell(head) for head in heads])
  writer.writerows([_cell(value) for value in row] for row in rows)
  return out.getvalue()


def _cell(value: Any) -> str:
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, int | float):
    return f"{value:.{DIGITS}g}"
  shown = numbers.plain(value)
  return f"'{shown}" if shown.startswith(FORMULA) else shown


def _ends(ci: Any) -> Cells:
  """Both ends of an interval, empty where there is none."""
  found = [numbers.value(end) for end in ci or ()]
  return found if len(found) == 2 else (None, None)


# ---------------------------------------------------------------------------------------------------------------------
# What can be downloaded


def tests(rows: Sequence[Mapping], claims: Mapping[str, Mapping]) -> dict[str, str]:
  """Every test of every row with its measure."""
  heads = (
    *("claim", "tier", "device", "verdict", "condition", "measure", "test", "cell", "role", "rule", "n"),
    *("effect", "low", "high", "interval level", "p", "level", "minimum effect", "needed", "passed"),
  )
  lines = []
  for row in rows:
    claim = claims.get(row["id"], {})
    for test in row.get("tests") or ():
      about = (verdicts.measure(test, claim), test.get("name"), test.get("cell"), test.get("role"), test.get("rule"))
      level, minimum = test.get("ci_level"), test.get("minimum_effect")
      figures = (test.get("n"), numbers.value(test.get("effect")), *_ends(test.get("ci")), level, test.get("p"))
      held = (test.get("alpha"), minimum, verdicts.needed(test, claim), test.get("passed"))
      lines.append((*_row(row), *about, *figures, *held))
  return link("tests", heads, lines)


def row_arms(rows: Sequence[Mapping], claims: Mapping[str, Mapping]) -> dict[str, str]:
  """Every arm of every row with its measure."""
  heads = (
    *("claim", "tier", "device", "verdict", "condition", "arm", "measure", "n", "mean", "low", "high"),
    *("learning rate", "on the edge", "diverged", "stalled"),
  )
  lines = []
  for row in rows:
    for arm in row.get("arms") or ():
      name = arm.get("name") or ""
      measure = verdicts.of_arm(name, claims.get(row["id"], {}))
      figures = (arm.get("n"), numbers.value(arm.get("mean")), *_ends(arm.get("ci")))
      rest = (arm.get("lr"), bool(arm.get("lr_on_edge")), arm.get("diverged"), arm.get("stalled"))
      lines.append((*_row(row), name.partition(":")[0] if measure else name, measure, *figures, *rest))
  return link("arms", heads, lines)


def _row(row: Mapping) -> Cells:
  return row["id"], row.get("tier"), row.get("device"), row.get("verdict"), row.get("condition")


def study(given: StudyPlot) -> dict[str, str]:
  """Every arm of a study at every seed, with its settings and its cost."""
  keys = list(dict.fromkeys(key for arm in given.arms for key in arm.settings))
  costs = sorted({key for arm in given.arms for key in arm.cost})  # drawn again from JSON, keys come sorted
  beside = (given.beside_label,) if given.beside_label else ()
  heads = (
    "arm",
    "group",
    given.x_label or "x",
    *keys,
    "learning rate",
    "run",
    given.y_label or "metric",
    *beside,
    *costs,
  )
  lines = []
  for arm in given.arms:
    about = (arm.name, arm.group, arm.x, *(arm.settings.get(key) for key in keys), arm.chosen_lr)
    cost = [numbers.value(arm.cost.get(key)) for key in costs]
    for index, value in enumerate(arm.values):
      more = (numbers.value(arm.beside[index]) if index < len(arm.beside) else None,) if beside else ()
      lines.append((*about, index + 1, numbers.value(value), *more, *cost))
  return link(given.name, heads, lines)


def outcomes(given: Sequence[Outcome]) -> dict[str, str]:
  """Every trial that did not train."""
  heads = ("study", "arm", "learning rate", "seed", "outcome", "cause")
  return link("not-trained", heads, [(o.study, o.arm, o.lr, o.seed, o.status, o.cause) for o in given])


def comparisons(given: Sequence[Comparison]) -> dict[str, str]:
  """Every comparison of `assay compare`."""
  heads = ("comparison", "measure", "n", "effect", "low", "high", "p", "minimum effect", "answer")
  lines = [(c.name, c.measure, c.n, c.effect, *_ends(c.ci), c.p, c.minimum_effect, c.reason) for c in given]
  return link("comparisons", heads, lines)
