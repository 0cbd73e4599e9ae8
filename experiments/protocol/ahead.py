"""What a run of claims would do and how long it would take: nothing runs.

A study's trials take what they took when the ledger's row was made; where no row tells, what its models cost in FLOPs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.ledger import ledger
from experiments.protocol import calls, study, sweep
from experiments.protocol.claim import Bench, Check, Claim, Study, Trial
from experiments.record import corpora
from experiments.run import estimate
from experiments.run.cohorts import cohort_key, trial_key

Item = dict[str, Any]
Paces = Mapping[tuple[str, str], float]


def items(claims: Sequence[Claim], tier: str, root: Path) -> list[Item]:
  """Checks, benches and studies with what the workdir lacks of them, in seconds of one core; first looks only.

  A study that grows (a rate on its grid's edge, a row that needs a second look) takes longer.
  """
  at = {claim.id: own for claim in claims if (own := claim.tier_for(tier))}
  ready = [claim for claim in claims if claim.id in at]
  called = {c.experiment.run: (c.experiment, at[c.id]) for c in ready if isinstance(c.experiment, Check | Bench)}
  found = [_call(evidence, own, root) for evidence, own in called.values()]
  trained = {(c.experiment.study.name, at[c.id]): c.experiment.study for c in ready if isinstance(c.experiment, Trial)}
  paces, compiled = _paces(ready, at), set()
  return found + [_study(plan, own, root, paces.get((name, own)), compiled) for (name, own), plan in trained.items()]


def seconds(found: Sequence[Item], jobs: int, slower: float) -> float:
  """Seconds until all of them are done."""
  parts = estimate.added(
    estimate.Parts(item["seconds"], item["compile_seconds"], item["longest_compile"], item["alone_seconds"])
    for item in found
  )
  return estimate.seconds(parts, sum(item["missing"] for item in found), jobs, slower)


def _item(name: str, tier: str, **more: float) -> Item:
  nothing = {"trials": 0, "steps": 0, "missing": 0, "cohorts": 0, "seconds": 0.0, "compile_seconds": 0.0}
  return {"name": name, "tier": tier, **nothing, "longest_compile": 0.0, "alone_seconds": 0.0, **more}


def _call(evidence: Check | Bench, tier: str, root: Path) -> Item:
  missing = not (root / "calls" / f"{calls.key(evidence)}.json").is_file()
  takes = estimate.CHECK if isinstance(evidence, Check) else estimate.BENCH
  where = "seconds" if isinstance(evidence, Check) else "alone_seconds"
  return _item(evidence.run, tier, missing=int(missing), **{where: takes * missing})


def _study(plan: Study, tier: str, root: Path, pace: float | None, compiled: set[str]) -> Item:
  """One study. `pace`: seconds of one of its trials as measured, None where nobody knows; `compiled` grows."""
  arms = {arm: study.point(plan, tier, arm, lr=plan.grid[0], seed=0, split="test") for arm in plan.arms_at(tier)}
  missing = {arm: study.runs_per_arm(plan) - _stored(plan, tier, arm, root) for arm in arms}
  waiting = {arm: config for arm, config in arms.items() if missing[arm] > 0}
  fresh = {cohort_key(config): config for config in waiting.values()}
  compiles = [sweep.compile_seconds(config) for key, config in fresh.items() if key not in compiled]
  compiled |= fresh.keys()
  costs = {} if pace is not None else sweep.cohort_costs(waiting.values())
  trained = sum(
    missing[arm] * (estimate.training(config, costs[cohort_key(config)]["flops"]) if pace is None else pace)
    for arm, config in waiting.items()
  )
  runs = study.runs_per_arm(plan)
  return _item(
    plan.name,
    tier,
    trials=runs * len(arms),
    steps=runs * study.steps_per_seed(plan, tier),
    missing=sum(missing[arm] for arm in waiting),
    cohorts=len(fresh),
    seconds=round(trained, 2),
    compile_seconds=round(sum(compiles), 2),
    longest_compile=round(max(compiles, default=0.0), 2),
  )


def _stored(plan: Study, tier: str, arm: str, root: Path) -> int:
  """Trials of an arm that the workdir holds: those of tuning, and of reporting at whichever rate was chosen."""
  if not (root / "trials").is_dir():
    return 0

  def held(lr: float, seed: int, split: str, probed: bool = True) -> bool:
    config = study.point(plan, tier, arm, lr=lr, seed=seed, split=split, probed=probed)
    return bool(estimate.stored(root, [trial_key(config, corpora.hashes(config))]))

  tuning = () if study.fixed(plan) else plan.tuning
  tuned = sum(held(lr, seed, "validation") for lr in plan.grid for seed in tuning)
  reported = sum(any(held(lr, seed, "test") for lr in plan.grid) for seed in plan.reporting)
  return tuned + reported + sum(held(lr, seed, "test", probed=False) for lr in plan.window for seed in plan.reporting)


def _paces(claims: Sequence[Claim], at: Mapping[str, str]) -> Paces:
  """Seconds of one trial of each study at its tier, as the ledger's rows tell."""
  rows = {(row["id"], row["tier"]): row for row in ledger.read(ledger.committed()) if row["trials"]}
  found: dict[tuple[str, str], list[float]] = {}
  for claim in claims:
    row = rows.get((claim.id, at[claim.id]))
    if row and isinstance(claim.experiment, Trial) and "train_seconds" in row["run"]:
      key = (claim.experiment.study.name, at[claim.id])
      found.setdefault(key, []).append(row["run"]["train_seconds"] / len(row["trials"]))
  return {key: sum(values) / len(values) for key, values in found.items()}
