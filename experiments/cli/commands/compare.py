"""`assay compare attention=dot attention=additive --config=recall`: effect, interval, cost and curves."""

import math
import sys
import time
from dataclasses import replace
from typing import Any

from configs import override
from experiments.cli import flags
from experiments.ledger import ledger
from experiments.pages import methods, outcome
from experiments.pages.report import ArmData, Comparison, Report
from experiments.protocol import compare, glossary, scales, study, sweep
from experiments.record import corpora
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import opened

COSTS = {"parameters": (1, ".0f"), "flops": (1e6, ".3g"), "step_seconds": (1e-3, ".3g"), "memory_bytes": (2**20, ".3g")}


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the protocol on the arms; the document holds comparisons, arms and their cost."""
  started = time.monotonic()
  named = compare.arms(space.config, overrides, space.arms)
  plan = compare.plan(space.config, named, space.metric, space.seeds, space.lrs, space.better)
  configs = [override.resolve(override.load(space.config, shared=settings)) for settings in named.values()]
  for config in configs:
    corpora.present(config)
  if warning := compare.warning(space.seeds):
    print(warning, file=sys.stderr)
  root = flags.workdir(space.workdir, "compare", space.config)
  identity = {"command": "compare", "card": space.config}
  with opened(root, identity) as store, Progress(f"compare on {space.config}") as progress:
    with Runner(
      store, Options(jobs=space.jobs, profile=space.profile, keep_stale=space.keep_stale), progress
    ) as runner:
      done, found = compare.run(plan, space.delta, runner)
    ran = {name for name, arm in done.arms.items() if any(r["status"] != "failed" for r in arm.results)}
    costs = {name: _cost(config) for name, config in zip(named, configs, strict=True) if name in ran}
    drawn = outcome.study_plot(done, store)
    arms = [replace(arm, cost={**costs.get(arm.name, {}), **arm.cost}) for arm in drawn.arms]
    page = Report(
      title=f"{' against '.join(named)} on {space.config}",
      studies=[replace(drawn, arms=arms)],
      comparisons=[_comparison(item) for item in found],
      meta=outcome.meta(flags.typed(space), runner.backend, time.monotonic() - started),
      outcomes=outcome.failures(done),
      methods=_methods(done, found),
    )
    report = outcome.write(root, page)
  items = [_arm(arm, done.arms[arm.name], space.metric) for arm in arms]
  if not space.json:
    _print(found, items, space.metric, arms, fixed=study.fixed(plan))
  print(f"report: {report}", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "report": str(report), "comparisons": found, "arms": items}
  unanswered = any(item["answer"].startswith(compare.NO_ANSWER) for item in found)
  return document | {"trials": runner.counts}, 3 if runner.counts["failed"] or unanswered else 0


def _cost(config) -> dict[str, float]:
  from experiments.worker.pack import prepare
  from train.step import cost

  cohort = prepare(config)
  return cost(cohort.whole, config, cohort.train_data, compiled=True)


def _methods(done: study.Finished, found: list[dict[str, Any]]) -> list[str]:
  """What the report says was done."""
  plan = done.study
  rates = {lr for arm in done.arms.values() for lr, _ in arm.tuning} | {*plan.grid}
  used = [(item["method"], item["n"]) for item in found]
  return methods.compared(plan.metric, rates=[*rates], tuning=plan.tuning, reporting=plan.reporting, used=used)


def _comparison(item: dict[str, Any]) -> Comparison:
  from experiments.protocol import stats  # scipy: not before a mistake is told

  reason = f"{item['answer']} ({stats.said(item['method'], item['n'])})" if item["n"] else item["answer"]
  return Comparison(
    item["name"],
    item["effect"],
    tuple(item["ci"]),
    item["delta"],
    item["n"],
    item["p"],
    0.05,
    reason,
    glossary.label(item["metric"]),
  )


def _arm(drawn, arm: study.Arm, metric: str) -> dict[str, Any]:
  """One arm's line; without figures where its trials gave no numbers."""
  scale = scales.scale(arm.config, metric)
  values = [] if arm.fault(metric) else arm.values(metric)
  entry = ledger.arm(arm.name, values, lr=arm.lr, lr_on_edge=arm.on_edge, within=(scale.low, scale.high))
  lost = {status: getattr(drawn, status) for status in ("diverged", "stalled", "failed", "stale")}
  return entry | lost | {"method": sweep.figures(arm, metric)["method"], "cost": dict(drawn.cost)}


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
  outcome.show(table)
  for item in found:
    low, high = item["ci"]
    figures = f"{item['effect']:+.4g} [{low:+.4g}, {high:+.4g}], n = {item['n']}, p = {item['p']:.3g}: "
    print(f"{item['name']}: {glossary.label(item['metric'])} {figures if item['n'] else ''}{item['answer']}")
  if said := methods.intervals((item["method"], item["n"]) for item in (*items, *found)):
    print(f"95 % intervals: {said}")


def _cell(value: float | None, size: float, digits: str) -> str:
  return "–" if value is None or not math.isfinite(value) else format(value / size, digits)
