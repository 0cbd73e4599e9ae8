"""`assay compare attention=dot attention=additive --config=recall`: effect, interval, cost and curves."""

import math
import sys
from typing import Any

from experiments import api
from experiments.cli import cli
from experiments.pages import from_runs, methods
from experiments.pages.report import ArmData
from experiments.protocol import glossary, study

COSTS = {"parameters": (1, ".0f"), "flops": (1e6, ".3g"), "step_seconds": (1e-3, ".3g"), "memory_bytes": (2**20, ".3g")}
OPTIONS = ("metric", "delta", "better", "seeds", "lrs", "workdir", "jobs", "profile", "keep_stale", "writer")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the protocol on the arms; the document holds comparisons, arms and their cost."""
  options = {name: getattr(space, name) for name in OPTIONS}
  compared = api.compare(space.config, space.arms, overrides, asked=cli.typed(space), **options)
  if not space.json:
    assert compared.study is not None
    found, items = compared.found["comparisons"], compared.found["arms"]
    drawn = compared.report.studies[0].arms
    _print(found, items, space.metric, drawn, fixed=study.fixed(compared.study.study))
  print(f"{cli.ran(compared.found['trials'])}; report: {compared.found['report']}", file=sys.stderr)
  return compared.document, 0 if compared.complete else 3


def _beside(arm: ArmData) -> str:
  """The mean of the measure that stands beside the metric, over the seeds that have it."""
  values = [value for value in arm.beside if math.isfinite(value)]
  return f"{sum(values) / len(values):.4g}" if values else "–"


def _print(found: list[dict[str, Any]], items: list[dict[str, Any]], metric: str, arms, *, fixed: bool) -> None:
  from rich.table import Table
  from rich.text import Text

  table, drawn = Table(box=None), {arm.name: arm for arm in arms}
  beside = glossary.BESIDE.get(metric, "")
  heads = [glossary.label(name) for name in (metric, beside) if name]
  for name in ("arm", "lr", *heads, "parameters", "MFLOP/step", "ms/step", "temporary MiB"):
    table.add_column(name)
  for item in items:
    cost, note = item["cost"], " (edge)" if item["lr_on_edge"] else " (fixed)" if fixed else ""
    low, high = item["ci"]
    figures = f"{item['mean']:.4g} [{low:.4g}, {high:.4g}]" if item["n"] else "–"
    shown = [Text(figures), *([Text(_beside(drawn[item["name"]]))] if beside else [])]
    rate = "–" if item["lr"] is None else f"{item['lr']:g}{note}"
    stale = f" ({item['stale']} stale)" if item["stale"] else ""
    costs = (_cell(cost.get(name), *unit) for name, unit in COSTS.items())
    table.add_row(Text(item["name"] + stale), rate, *shown, *costs)
  from_runs.show(table)
  for item in found:
    low, high = item["ci"]
    figures = f"{item['effect']:+.4g} [{low:+.4g}, {high:+.4g}], n = {item['n']}, p = {item['p']:.3g}: "
    print(f"{item['name']}: {glossary.label(item['metric'])} {figures if item['n'] else ''}{item['answer']}")
  if said := methods.intervals((item["method"], item["n"]) for item in (*items, *found)):
    print(f"95 % intervals: {said}")


def _cell(value: float | None, size: float, digits: str) -> str:
  return "–" if value is None or not math.isfinite(value) else format(value / size, digits)
