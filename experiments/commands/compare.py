"""`assay compare attention=dot attention=additive --config=recall`: effect, interval, cost and curves."""

import sys
import time
from dataclasses import replace
from typing import Any

from configs import override
from experiments import compare, corpora, flags, ledger, outcome, study
from experiments.cohorts import digest
from experiments.progress import Progress
from experiments.report import Comparison, Report
from experiments.runner import Options, Runner
from experiments.store import opened


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the protocol on the arms; the document holds comparisons, arms and their cost."""
  started = time.monotonic()
  named = compare.arms(space.config, overrides, space.arms)
  plan = compare.plan(space.config, named, space.metric, space.seeds, space.lrs)
  configs = [override.resolve(override.load(space.config, settings)) for settings in named.values()]
  for config in configs:
    corpora.present(config)
  root = flags.workdir(space.workdir, "compare", space.config)
  identity = {"command": "compare", "card": space.config, "arms": digest(configs)[:16], "metric": space.metric}
  with opened(root, identity) as store, Progress(f"compare on {space.config}") as progress:
    with Runner(
      store, Options(jobs=space.jobs, profile=space.profile, keep_stale=space.keep_stale), progress
    ) as runner:
      done, found = compare.run(plan, space.delta, runner)
    costs = {name: _cost(config) for name, config in zip(named, configs, strict=True)}
    drawn = outcome.study_plot(done, store)
    arms = [replace(arm, cost={**costs[arm.name], **arm.cost}) for arm in drawn.arms]
    page = Report(
      title=f"{' against '.join(named)} on {space.config}",
      studies=[replace(drawn, arms=arms)],
      comparisons=[_comparison(item) for item in found],
      meta=outcome.meta("assay compare " + " ".join(space.arms), runner.backend, time.monotonic() - started),
      outcomes=outcome.failures(done),
    )
    report = outcome.write(root, page)
  items = [_arm(arm, done.arms[arm.name], space.metric, plan.better) for arm in arms]
  if not space.json:
    _print(found, items, space.metric)
  print(f"report: {report}", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "report": str(report), "comparisons": found, "arms": items}
  return document | {"trials": runner.counts}, 3 if runner.counts["failed"] else 0


def _cost(config) -> dict[str, float]:
  from experiments.pack import prepare
  from train.step import cost

  cohort = prepare(config)
  return cost(cohort.whole, config, cohort.train_data, compiled=True)


def _comparison(item: dict[str, Any]) -> Comparison:
  return Comparison(
    item["name"], item["effect"], tuple(item["ci"]), item["delta"], item["n"], item["p"], 0.05, item["answer"]
  )


def _arm(drawn, arm: study.Arm, metric: str, better: str) -> dict[str, Any]:
  entry = ledger.arm(arm.name, arm.values(metric, better), lr=arm.lr, lr_on_edge=arm.on_edge)
  lost = {"diverged": drawn.diverged, "stalled": drawn.stalled, "stale": drawn.stale}
  return entry | lost | {"cost": dict(drawn.cost)}


def _print(found: list[dict[str, Any]], items: list[dict[str, Any]], metric: str) -> None:
  from rich.table import Table

  table = Table(box=None)
  for name in ("arm", "lr", metric, "parameters", "MFLOP/step", "ms/step", "temporary MiB"):
    table.add_column(name)
  for item in items:
    low, high = item["ci"]
    cost, edge = item["cost"], " (edge)" if item["lr_on_edge"] else ""
    figures = (f"{item['mean']:.4g} [{low:.4g}, {high:.4g}]", f"{cost['parameters']:.0f}", f"{cost['flops'] / 1e6:.3g}")
    machine = (f"{cost['step_seconds'] * 1e3:.3g}", f"{cost['memory_bytes'] / 2**20:.3g}")
    stale = f" ({item['stale']} stale)" if item["stale"] else ""
    table.add_row(item["name"] + stale, f"{item['lr']:g}{edge}", *figures, *machine)
  outcome.show(table)
  for item in found:
    low, high = item["ci"]
    figures = f"{item['effect']:+.4g} [{low:+.4g}, {high:+.4g}], n = {item['n']}, p = {item['p']:.3g}"
    print(f"{item['name']}: {item['metric']} {figures}: {item['answer']}")
