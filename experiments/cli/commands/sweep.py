"""`assay sweep`: a card's sweep or axes from the command line; ends with a table with intervals and a report."""

import os
import sys
import time
from typing import Any

from experiments.cli import flags
from experiments.pages import methods, outcome
from experiments.pages.report import Report
from experiments.protocol import sweep
from experiments.record import corpora
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import opened

MEASURES = ("accuracy", "loss", "auc", "t90_restricted", "wer", "per")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the sweep in its workdir; the document holds one row per point."""
  started = time.monotonic()
  named = sweep.points(space.config, overrides, space.axis)
  for config in named.values():
    corpora.present(config)
  if space.dry_run:
    return _plan(space, named)
  root = flags.workdir(space.workdir, "sweep", space.config)
  identity = {"command": "sweep", "card": space.config}
  options = Options(jobs=space.jobs, profile=space.profile, keep_stale=space.keep_stale)
  with opened(root, identity) as store, Progress(f"sweep {space.config}") as progress:
    with Runner(store, options, progress) as runner:
      done = sweep.run(space.config, named, space.seeds, "accuracy", runner)
    page = Report(
      title=f"Sweep of {space.config}",
      studies=[outcome.study_plot(done, store)],
      meta=outcome.meta(flags.typed(space), runner.backend, time.monotonic() - started),
      outcomes=outcome.failures(done),
      methods=_methods(done),
    )
    report = outcome.write(root, page)
  present = [m for m in MEASURES if any(m in r["measures"] for arm in done.arms.values() for r in arm.results)]
  rows = sweep.summary(done, present)
  if not space.json:
    outcome.show(_table(rows, present))
    said = methods.intervals((row[name]["method"], row[name]["n"]) for row in rows for name in present)
    print(f"95 % intervals: {said}" if said else "no intervals: one seed tells no spread")
  for arm in done.arms.values():
    why = [result["cause"] for result in arm.results if result["status"] == "failed"]
    if why:
      print(f"{len(why)} of {len(arm.results)} trials of {arm.name!r} failed: {why[0]}", file=sys.stderr)
  print(f"report: {report}", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "report": str(report), "points": rows, "trials": runner.counts}
  return document, 3 if runner.counts["failed"] else 0


def _methods(done) -> list[str]:
  """What the report says was done."""
  shown = [sweep.figures(arm, done.study.metric) for arm in done.arms.values()]
  splits = [arm.config["eval"]["split"] for arm in done.arms.values()]
  return methods.swept(done.study.reporting, splits, [(entry["method"], entry["n"]) for entry in shown])


def _plan(space, named) -> tuple[dict[str, Any], int]:
  items = sweep.estimate(named, space.seeds, space.jobs or os.cpu_count() or 1)
  total = sum(item["seconds"] for item in items)
  cohorts = len({item["cohort"] for item in items})
  if not space.json:
    from rich.table import Table

    table = Table(box=None)
    for name in items[0]:
      table.add_column(name)
    for item in items:
      table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in item.values()))
    outcome.show(table)
    print(f"{len(items)} points x {space.seeds} seeds in {cohorts} cohorts, about {total / 60:.1f} min")
  return {"schema": 1, "items": items, "cohorts": cohorts, "seconds": total}, 0


def _table(rows, measures):
  from rich.table import Table
  from rich.text import Text

  table = Table(box=None)
  for name in ("point", "n", *measures, "not trained"):
    table.add_column(name)
  for row in rows:
    cells = [_interval(row[measure], row["n"]) for measure in measures]
    lost = ", ".join(f"{row[status]} {status}" for status in ("diverged", "stalled", "failed", "stale") if row[status])
    table.add_row(Text(row["point"]), str(row["n"]), *map(Text, cells), lost)
  return table


def _interval(entry: dict[str, Any], of: int) -> str:
  """The mean and its interval, where the number of seeds gives one, and how many runs had the number."""
  if not entry["n"]:
    return "–"
  low, high = entry["ci"]
  spread = "" if entry["method"] == "none" else f" [{low:.4g}, {high:.4g}]"
  return f"{entry['mean']:.4g}{spread}" + (f" ({entry['n']} of {of})" if entry["n"] < of else "")
