"""`assay sweep`: a card's sweep or axes from the command line; ends with a table with intervals and a report."""

import sys
import time
from dataclasses import replace
from typing import Any

from experiments.cli import flags
from experiments.pages import methods, numbers, outcome
from experiments.pages.report import Report
from experiments.protocol import glossary, sweep
from experiments.record import corpora
from experiments.run import estimate
from experiments.run.cohorts import cohort_key
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import opened
from train import compute

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
    drawn = _with_costs(outcome.study_plot(done, store), done)
    page = Report(
      title=f"Sweep of {space.config}",
      studies=[drawn],
      meta=outcome.meta(flags.typed(space), runner.backend, time.monotonic() - started),
      outcomes=outcome.failures(done),
      methods=_methods(done),
    )
    report = outcome.write(root, page)
  present = [m for m in MEASURES if any(m in r["measures"] for arm in done.arms.values() for r in arm.results)]
  rows = sweep.summary(done, present)
  if not space.json:
    outcome.show(_table(rows, present, drawn))
    said = methods.intervals((row[name]["method"], row[name]["n"]) for row in rows for name in present)
    print(f"95 % intervals: {said}" if said else "no intervals: one seed tells no spread")
  for arm in done.arms.values():
    why = [result["cause"] for result in arm.results if result["status"] == "failed"]
    if why:
      print(f"{len(why)} of {len(arm.results)} trials of {arm.name!r} failed: {why[0]}", file=sys.stderr)
  print(f"report: {report}", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "report": str(report), "points": rows, "trials": runner.counts}
  return document, 3 if runner.counts["failed"] else 0


def _with_costs(drawn, done):
  """The study with what a step of each point costs: parameters and FLOPs, beside the time that was measured."""
  trained = {name: arm.config for name, arm in done.arms.items() if any(r["status"] != "failed" for r in arm.results)}
  found = sweep.cohort_costs(trained.values())
  costs = {name: found[cohort_key(config)] for name, config in trained.items()}
  return replace(drawn, arms=[replace(arm, cost={**costs.get(arm.name, {}), **arm.cost}) for arm in drawn.arms])


def _methods(done) -> list[str]:
  """What the report says was done."""
  shown = [sweep.figures(arm, done.study.metric) for arm in done.arms.values()]
  splits = [arm.config["eval"]["split"] for arm in done.arms.values()]
  return methods.swept(done.study.reporting, splits, [(entry["method"], entry["n"]) for entry in shown])


def _plan(space, named) -> tuple[dict[str, Any], int]:
  root = flags.workdir(space.workdir, "sweep", space.config)
  items = sweep.estimated(named, space.seeds, root)
  total = sweep.seconds(items, space.jobs or compute.cores(), estimate.slowness())
  cohorts = len({item["cohort"] for item in items})
  if not space.json:
    from rich.table import Table

    table = Table(box=None)
    for name in items[0]:
      table.add_column(name)
    for item in items:
      table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in item.values()))
    outcome.show(table)
    missing = sum(item["missing"] for item in items)
    print(
      f"{len(items)} points x {space.seeds} seeds in {cohorts} cohorts, {missing} trials to run: about"
      f" {numbers.duration(total)}"
    )
    print(f"based on: {estimate.BASIS}")
  return {"schema": 1, "items": items, "cohorts": cohorts, "seconds": round(total, 1), "based_on": estimate.BASIS}, 0


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
