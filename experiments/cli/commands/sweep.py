"""`assay sweep`: a card's sweep or axes from the command line; ends with a table with intervals and a report."""

import sys
from typing import Any

from experiments import api
from experiments.cli import cli
from experiments.pages import from_runs, methods, numbers
from experiments.protocol import glossary

OPTIONS = ("seeds", "workdir", "jobs", "profile", "keep_stale", "writer", "dry_run")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the sweep in its workdir; the document holds one row per point."""
  shared = {name: getattr(space, name) for name in OPTIONS}
  swept = api.sweep(space.config, overrides, axes=space.axis, keep=space.keep, asked=cli.typed(space), **shared)
  if isinstance(swept, api.Planned):
    return _plan(space, swept)
  rows = swept.found["points"]
  if not space.json:
    present = [name for name, value in rows[0].items() if isinstance(value, dict)]
    from_runs.show(_table(rows, present, swept.report.studies[0]))
    said = methods.intervals((row[name]["method"], row[name]["n"]) for row in rows for name in present)
    print(f"95 % intervals: {said}" if said else "no intervals: one seed tells no spread")
  assert swept.study is not None
  for arm in swept.study.arms.values():
    why = [result["cause"] for result in arm.results if result["status"] == "failed"]
    if why:
      print(f"{len(why)} of {len(arm.results)} trials of {arm.name!r} failed: {why[0]}", file=sys.stderr)
  print(f"{cli.ran(swept.found['trials'])}; report: {swept.found['report']}", file=sys.stderr)
  return swept.document, 0 if swept.complete else 3


def _plan(space, planned: api.Planned) -> tuple[dict[str, Any], int]:
  items, cohorts, total = (planned.found[name] for name in ("items", "cohorts", "seconds"))
  if not space.json:
    from rich.table import Table

    table = Table(box=None)
    for name in items[0]:
      table.add_column(name)
    for item in items:
      table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in item.values()))
    from_runs.show(table)
    missing = sum(item["missing"] for item in items)
    print(
      f"{len(items)} points x {space.seeds} seeds in {cohorts} cohorts, {missing} trials to run: about"
      f" {numbers.duration(total)}"
    )
    print(f"based on: {planned.found['based_on']}")
  return planned.document, 0


def _table(rows, measures, drawn):
  """A line for each point: its figures under the names of their measures, and what a step of it costs."""
  from rich.table import Table
  from rich.text import Text

  table = Table(box=None)
  for name in ("point", "seeds", *map(glossary.label, measures), "parameters", "MFLOP/step", "not trained"):
    table.add_column(name)
  costs = {arm.name: arm.cost for arm in drawn.arms}
  for row in rows:
    cost = costs[row["point"]]
    size = [f"{cost['parameters']:.0f}", f"{cost['flops'] / 1e6:.3g}"] if "flops" in cost else [numbers.NONE] * 2
    cells = [_interval(row[measure], row["n"]) for measure in measures]
    lost = ", ".join(f"{row[status]} {status}" for status in ("diverged", "stalled", "failed", "stale") if row[status])
    table.add_row(Text(row["point"]), str(row["n"]), *map(Text, cells), *size, lost)
  return table


def _interval(entry: dict[str, Any], of: int) -> str:
  """The mean and its interval, where the number of seeds gives one, and how many runs had the number."""
  if not entry["n"]:
    return "–"
  low, high = entry["ci"]
  spread = "" if entry["method"] == "none" else f" [{low:.4g}, {high:.4g}]"
  return f"{entry['mean']:.4g}{spread}" + (f" ({entry['n']} of {of})" if entry["n"] < of else "")
