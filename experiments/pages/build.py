"""One self-contained offline HTML page from a `Report`: no script, no font, no picture from elsewhere.

The tables can be downloaded as CSV: each link holds its file.

Every text passes jinja2's autoescape; the same report gives the same bytes.
"""

import functools
from pathlib import Path

from experiments.pages import numbers, tables, verdicts, views
from experiments.pages.report import Report

OPEN_STUDIES = 6  # beyond, studies are folded


def html(report: Report) -> str:
  """The page as text. Raises KeyError for a row or a claim without an id."""
  items = {item["id"]: item for item in report.claims}
  order = {identifier: place for place, identifier in enumerate(items)}
  rows = sorted(report.rows, key=lambda row: (order.get(row["id"], len(order)), row["id"], -verdicts.tier(row)))
  judged = [views.row(row, items.get(row["id"], {})) for row in rows if row.get("verdict", "untested") != "untested"]
  best = {row["id"]: row for row in reversed(judged)}  # the largest tier of each claim
  return (
    environment()
    .get_template("report.html.j2")
    .render(
      report=report,
      meta=views.meta(report.meta),
      digest=views.digest(report.rows),
      rows=judged,
      studies=[views.study(study, f"p{i}", best) for i, study in enumerate(report.studies)],
      fold_studies=len(report.studies) > OPEN_STUDIES,
      comparisons=[views.comparison(comparison) for comparison in report.comparisons],
      costs=None if report.rows else views.costs(report.studies),
      contradictions=views.contradictions(report, items, best),
      methods=views.ways(report),
      tuned=any(arm.tuning for study in report.studies for arm in study.arms),
      outcomes=sorted(report.outcomes, key=lambda o: (o.study, o.arm, o.lr or 0.0, o.seed)),
      lost_arms=views.lost(judged),
      csv={
        "tests": tables.tests(rows, items),
        "arms": tables.row_arms(rows, items),
        "outcomes": tables.outcomes(report.outcomes),
        "comparisons": tables.comparisons(report.comparisons),
      },
      untested=views.untested(report, items, {row["id"] for row in judged}),
    )
  )


@functools.cache
def environment(escape: bool = True):
  """The templates beside this file; `escape` is off for Markdown, whose renderer escapes by itself."""
  import jinja2

  made = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=escape,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  made.filters["num"] = lambda x: numbers.pretty(numbers.short(x))
  made.filters["plain"] = numbers.plain
  made.filters["capital"] = numbers.capital
  return made
