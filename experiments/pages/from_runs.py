"""From finished studies and rows to a report, its stored data and the table on the terminal."""

import dataclasses
import hashlib
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ledger import ledger
from experiments.pages import arms, items, methods
from experiments.pages.report import ArmData, Comparison, Outcome, Report, StudyPlot
from experiments.protocol import calibration, catalog, glossary, scales
from experiments.protocol.claim import At, Claim, Study, Trial
from experiments.protocol.study import Arm, Finished
from experiments.record import atomic, stamp
from experiments.run.cohorts import hash_of
from experiments.run.store import Store, number
from experiments.run.store import report as report_of


def claims_report(found, claims: Sequence[Claim], store: Store, head: Mapping[str, Any]) -> Report:
  """The report of `assay reproduce`: verdicts, studies, contradictions, and the runs that did not train.

  head: as `meta` gives it.
  """
  readers: dict[str, list[str]] = {}
  for claim in claims:
    if isinstance(claim.experiment, Trial):
      readers.setdefault(claim.experiment.study.name, []).append(claim.id)
  chosen, known = {claim.id for claim in claims}, calibration.read(calibration.committed())
  return Report(
    methods=methods.assayed(found.rows),
    title="Claims about attention, assayed",
    rows=found.rows,
    claims=[items.claim(claim) for claim in claims],
    studies=[study_plot(done, store, readers.get(done.study.name, [])) for done in found.studies],
    contradictions=[entry for entry in catalog.contradictions() if {entry[0], entry[1]} <= chosen],
    meta=dict(head) | ({"calibration": " ".join(calibration.told(known))} if known else {}),
    outcomes=[outcome for done in found.studies for outcome in failures(done)],
  )


def meta(command: str, backend: Mapping, seconds: float, **more) -> dict[str, Any]:
  """What a report's head says of where and when it was made."""
  return {
    "command": command,
    "device": backend.get("device", "cpu"),
    "device_name": backend.get("device_name", ""),
    "date": time.strftime("%Y-%m-%d"),
    "seconds": round(seconds, 1),
    "versions": stamp.versions(),
    **more,
  }


def study_plot(done: Finished, store: Store, readers: Sequence[str] = ()) -> StudyPlot:
  """A study's arms as the report draws them."""
  plan = done.study
  settings = arms.differing({name: arm.config for name, arm in done.arms.items()}, tuned=bool(plan.tiers))
  places = arms.placed(plan, settings)
  trained = [arm for arm in done.arms.values() if any(result["status"] != "failed" for result in arm.results)]
  bounds = chance(trained[0].config) if trained and plan.metric in ("accuracy", "auc") else {}
  config = next(iter(done.arms.values())).config
  scale, beside = scales.scale(config, plan.metric), glossary.BESIDE.get(plan.metric, "")
  scale_beside = scales.scale(config, beside)
  return StudyPlot(
    name=f"{plan.name} ({done.tier})",
    title=plan.name.replace("-", " "),
    x_label=plan.x,
    y_label=glossary.label(plan.metric),
    floor=bounds.get("floor"),
    ceiling=bounds.get("ceiling"),
    arms=[arm_data(arm, plan, store, places[name], settings[name]) for name, arm in done.arms.items()],
    claims=list(readers),
    within=(scale.low, scale.high),
    curves_within=(0.0, 1.0 if plan.better == "max" else math.inf),  # of accuracy, or of a loss
    beside_label=glossary.label(beside) if beside else "",
    beside_within=(scale_beside.low, scale_beside.high),
    curve_label="accuracy" if plan.better == "max" else "cross-entropy in nats",
  )


def chance(config: Mapping[str, Any]) -> dict[str, float]:
  """Accuracy of the best constant answer and the best possible one, of the config's task."""
  from model.build import make

  task = make("tasks", dict(config["task"]), package="train")
  return {"floor": task.floor, "ceiling": task.ceiling}


def arm_data(arm: Arm, plan: Study, store: Store, place: At, settings: arms.Settings) -> ArmData:
  """One arm as the report draws it, at its place, with the settings in which it differs from others."""
  column = "accuracy" if plan.better == "max" else "loss"
  beside = glossary.BESIDE.get(plan.metric, "")
  return ArmData(
    name=arm.name,
    group=place.group,
    x=place.x,
    values=[result["measures"].get(plan.metric, math.nan) for result in arm.results],
    beside=[result["measures"].get(beside, math.nan) for result in arm.results] if beside else (),
    settings={key: "unset" if value is None else str(value) for key, value in settings.items()},
    curves=[[(row["step"], row[column]) for row in store.curve(key) if column in row] for key in arm.keys],
    tuning=arm.tuning,
    chosen_lr=arm.lr,
    edge=arm.on_edge,
    diverged=arm.count("diverged"),
    stalled=arm.count("stalled"),
    failed=arm.count("failed") + len(arm.untuned),
    stale=sum(bool(result.get("stale")) for result in arm.results),
    cost={"step_seconds": pace(arm.results)},
  )


def pace(results: Sequence[Mapping[str, Any]]) -> float:
  """Median seconds per step of these runs; NaN where none was long enough to tell."""
  found = [float(number(result.get("step_seconds", math.nan))) for result in results]
  found = [value for value in found if math.isfinite(value)]
  return statistics.median(found) if found else math.nan


def failures(done: Finished) -> list[Outcome]:
  """Reporting runs that diverged, stalled or failed, and tuning runs without which an arm has no rate."""
  untuned = [
    Outcome(done.study.name, arm.name, lr, seed, "failed", why)
    for arm in done.arms.values()
    for lr, seed, why in arm.untuned
  ]
  return untuned + [
    Outcome(done.study.name, arm.name, arm.lr, seed, result["status"], result["cause"] or "")
    for arm in done.arms.values()
    for seed, result in zip(done.study.reporting, arm.results, strict=not arm.untuned)
    if result["status"] != "done"
  ]


def fingerprint(rows: Sequence[Mapping[str, Any]], claims: Sequence[Claim], tier: str) -> str:
  """A hash of all that the report of these rows shows, but for when it was made, and of the code that draws it."""
  here = Path(__file__).resolve()
  drawing = sorted(path for path in here.parent.iterdir() if path.is_file())
  return hash_of(
    {
      "rows": [{name: value for name, value in row.items() if name != "run"} for row in rows],
      "claims": [items.claim(claim) for claim in claims],
      "tier": tier,
      "calibration": calibration.read(calibration.committed()),
      "drawn by": [hashlib.sha256(path.read_bytes()).hexdigest() for path in drawing],
    }
  )


def drawn(root: Path, fingerprint: str) -> Path | None:
  """The report that lies in a workdir already, where it shows the very same."""
  try:
    held = report_of(root)
  except FileNotFoundError:
    return None
  except atomic.Damaged as damage:
    print(f"warning: the report of {root} is damaged ({damage}); it is drawn again", file=sys.stderr)
    return None
  return root / "report.html" if held.get("fingerprint") == fingerprint else None


def write(root: Path, report: Report, fingerprint: str = "") -> Path:
  """report.html, and report.json from which `assay report` draws it again."""
  from experiments.pages import build

  path, page = root / "report.html", build.html(report)
  atomic.write_text(path, page)
  data = dataclasses.asdict(report)
  atomic.write_sealed(
    root / "report.json", {**data, "schema": 1, "fingerprint": fingerprint, "page": atomic.sha256(page)}
  )
  return path


def read(root: Path) -> Report:
  """The stored report data of a workdir. Raises FileNotFoundError, or Damaged when it is not what was written."""
  data = ledger.numbers(atomic.read_sealed(root / "report.json"))
  for name in ("schema", "fingerprint", "page"):
    data.pop(name, None)
  try:
    studies = [
      StudyPlot(**(study | {"arms": [ArmData(**arm) for arm in study["arms"]]})) for study in data.pop("studies")
    ]
    comparisons = [Comparison(**entry) for entry in data.pop("comparisons")]
    outcomes = [Outcome(**entry) for entry in data.pop("outcomes")]
    return Report(**data, studies=studies, comparisons=comparisons, outcomes=outcomes)
  except (KeyError, TypeError) as error:
    raise atomic.Damaged("another version of the report's data") from error


def redraw(root: Path) -> Path:
  """Draws the page of a workdir's report again from its data. Raises FileNotFoundError where there are none."""
  if not root.is_dir():  # a file given as a workdir holds no report, damaged or whole
    raise FileNotFoundError(root)
  mark = atomic.read_sealed(root / "report.json").get("fingerprint", "")
  return write(root, read(root), mark)


def show(table) -> None:
  """Prints a rich table, wide enough to read when stdout is a file."""
  from rich.console import Console

  Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
