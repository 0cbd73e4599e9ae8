"""The reports of one's own runs: a training, a sweep, a comparison."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ledger import ledger
from experiments.pages import from_runs, methods
from experiments.pages.report import ArmData, Comparison, Report, StudyPlot
from experiments.protocol import estimate, glossary, scales, study, sweep
from experiments.run.cohorts import cohort_key
from experiments.run.store import Store

Found = Sequence[Mapping[str, Any]]  # the contrasts of a comparison


def trained(card: str, config: Mapping[str, Any], curve: Sequence[Mapping[str, float]], meta: Mapping) -> Report:
  """One model: its learning curve."""
  bounds = from_runs.chance(config)
  points = [(row["step"], row["accuracy"]) for row in curve if "accuracy" in row]
  drawn = StudyPlot(
    name=card,
    title=_called(card),
    y_label="accuracy at the end",
    curve_label="accuracy",
    arms=[
      ArmData(
        name=_called(card),
        values=[value for _, value in points[-1:]],
        curves=[points],
        chosen_lr=config["optim"]["lr"],
      )
    ],
    curves_within=(0.0, 1.0),
    floor=bounds["floor"],
    ceiling=bounds["ceiling"],
  )
  how = methods.trained(config["seed"], config["eval"]["split"])
  return Report(title=f"Training of {_called(card)}", studies=[drawn], meta=meta, methods=how)


def _called(card: str) -> str:
  """The card's name, for a card of one's own that of its file; a stored config's is that of its folder."""
  path = Path(card)
  return {".py": path.stem, ".json": path.parent.name}.get(path.suffix) or card


def swept(card: str, done: study.Finished, store: Store, meta: Mapping) -> Report:
  """A sweep: every point at every seed."""
  shown = [sweep.figures(arm, done.study.metric) for arm in done.arms.values()]
  splits = [arm.config["eval"]["split"] for arm in done.arms.values()]
  return Report(
    title=f"Sweep of {_called(card)}",
    studies=[dataclasses.replace(_sized(from_runs.study_plot(done, store), done), title=f"sweep of {_called(card)}")],
    meta=meta,
    outcomes=from_runs.failures(done),
    methods=methods.swept(done.study.reporting, splits, [(entry["method"], entry["n"]) for entry in shown]),
  )


def _sized(drawn: StudyPlot, done: study.Finished) -> StudyPlot:
  """The study with what a step of each point costs: parameters and FLOPs, beside the time that was measured."""
  trained = {name: arm.config for name, arm in done.arms.items() if any(r["status"] != "failed" for r in arm.results)}
  found = estimate.cohort_costs(trained.values())
  costs = {name: found[cohort_key(config)] for name, config in trained.items()}
  arms = [dataclasses.replace(arm, cost={**costs.get(arm.name, {}), **arm.cost}) for arm in drawn.arms]
  return dataclasses.replace(drawn, arms=arms)


def compared(
  card: str, done: study.Finished, found: Found, configs: Mapping[str, Mapping[str, Any]], store: Store, meta: Mapping
) -> Report:
  """A comparison: contrasts, arms and what a step of each costs; `configs` are the arms' by name."""
  drawn = from_runs.study_plot(done, store)
  return Report(
    title=f"{' against '.join(configs)} on {_called(card)}",
    studies=[dataclasses.replace(drawn, title=f"compare on {_called(card)}", arms=_costed(drawn.arms, done, configs))],
    comparisons=[_comparison(item) for item in found],
    meta=meta,
    outcomes=from_runs.failures(done),
    methods=_methods(done, found),
  )


def arms(page: Report, done: study.Finished) -> list[dict[str, Any]]:
  """The arms of a comparison as its document lists them."""
  return [_arm(drawn, done.arms[drawn.name], done.study.metric) for drawn in page.studies[0].arms]


def _costed(drawn: Sequence[ArmData], done: study.Finished, configs: Mapping[str, Mapping[str, Any]]) -> list[ArmData]:
  """Arms with parameters, FLOPs and memory of a step, where a trial ran."""
  ran = {name for name, arm in done.arms.items() if any(result["status"] != "failed" for result in arm.results)}
  costs = {name: _cost(config) for name, config in configs.items() if name in ran}
  return [dataclasses.replace(arm, cost={**costs.get(arm.name, {}), **arm.cost}) for arm in drawn]


def _cost(config: Mapping[str, Any]) -> dict[str, float]:
  from experiments.worker.pack import prepare
  from train.step import cost

  cohort = prepare(config)
  return cost(cohort.whole, config, cohort.train_data, compiled=True)


def _methods(done: study.Finished, found: Found) -> list[str]:
  """What the report of a comparison says was done."""
  plan = done.study
  rates = {lr for arm in done.arms.values() for lr, _ in arm.tuning} | {*plan.grid}
  used = [(item["method"], item["n"]) for item in found]
  return methods.compared(plan.metric, rates=[*rates], tuning=plan.tuning, reporting=plan.reporting, used=used)


def _comparison(item: Mapping[str, Any]) -> Comparison:
  from experiments.protocol import stats  # scipy: not before a mistake is told

  reason = f"{item['answer']} ({stats.said(item['method'], item['n'])})" if item["n"] else item["answer"]
  figures = item["effect"], tuple(item["ci"]), item["delta"], item["n"], item["p"]
  return Comparison(item["name"], *figures, 0.05, reason, glossary.label(item["metric"]))


def _arm(drawn: ArmData, arm: study.Arm, metric: str) -> dict[str, Any]:
  """One arm's line; without figures where its trials gave no numbers."""
  scale = scales.scale(arm.config, metric)
  values = [] if arm.fault(metric) else arm.values(metric)
  entry = ledger.arm(arm.name, values, lr=arm.lr, lr_on_edge=arm.on_edge, within=(scale.low, scale.high))
  lost = {status: getattr(drawn, status) for status in ("diverged", "stalled", "failed", "stale")}
  return entry | lost | {"method": sweep.figures(arm, metric)["method"], "cost": dict(drawn.cost)}
