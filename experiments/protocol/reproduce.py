"""From claims to ledger rows: gathers the evidence that the claims need, runs what is missing, decides each row."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.ledger import ledger
from experiments.protocol import calls, looks, measures, sequential, study, today, verdict
from experiments.protocol.claim import Bench, Check, Citation, Claim, Trial, names
from experiments.record import stamp
from experiments.run.cohorts import cohort_key
from experiments.run.runner import Runner

Tell = Callable[[Claim, Mapping[str, Any]], None]  # what is done with a claim and what was decided of it
SINGLE_LOOK = ("exact", "quick")  # tiers that stop after the first look, decided or not


class Reproduction(NamedTuple):
  """All that one command found: rows in claim order, and the studies behind them for the report."""

  rows: list[dict[str, Any]]
  studies: list[study.Finished]


def run(claims: Sequence[Claim], tier: str, runner: Runner, tell: Tell | None = None) -> Reproduction:
  """Rows of these claims at the largest tier of their own that `tier` includes; the rest come out untested.

  `tell` gets every claim that has evidence with what was decided, as soon as it is: checks before trials.
  """
  started = time.monotonic()
  at = {claim.id: claim.tier_for(tier) for claim in claims}
  ready = [claim for claim in claims if at[claim.id]]
  most = 1 if tier in SINGLE_LOOK else looks.MOST
  news = News(ready, at, most, tell) if tell else None
  called = [c.experiment for c in ready if isinstance(c.experiment, Check | Bench)]
  runner.expect(sum(item["steps"] for item in planned(ready, tier)))
  samples = calls.run(called, runner, news.called if news else None)
  wanted = list(measures.studies(ready, at).values())
  seen_by = _watched(runner, wanted, news) if news else runner
  finished = {(f.study.name, f.tier): f for f in study.run(wanted, seen_by)}
  tried = [claim for claim in ready if isinstance(claim.experiment, Trial)]
  seen = sequential.looked(tried, at, finished, most, runner, *([news.seen] if news else []))
  rows = []
  for claim in claims:
    row = _row(claim, at[claim.id], samples, seen, runner)
    row["run"] = {"date": time.strftime("%Y-%m-%d"), "seconds": round(time.monotonic() - started, 1)} | row["run"]
    rows.append(row)
  return Reproduction(rows, list(finished.values()))


def _watched(runner: Runner, wanted: Sequence[tuple[Any, str]], news: "News") -> study.Runner:
  from experiments.protocol import early  # somebody watches

  return early.Watching(runner, wanted, news.finished)


class News:
  """Tells each claim once, as soon as it is decided."""

  def __init__(self, claims: Sequence[Claim], at: Mapping[str, str | None], most: int, tell: Tell):
    self.at, self.most, self.tell, self.known = at, most, tell, set()
    self.waiting = list(claims)
    for claim in claims:
      if isinstance(claim.experiment, Citation):
        self._tell(claim, verdict.verdict(claim, claim.experiment.samples, sequential.level(claim)))

  def called(self, name: str, samples: Mapping[str, Sequence[float]]) -> None:
    """A check or a bench has ended."""
    for claim in self.waiting:
      if isinstance(claim.experiment, Check | Bench) and claim.experiment.run == name:
        self._tell(claim, verdict.verdict(claim, samples, sequential.level(claim)))

  def finished(self, done: study.Finished) -> None:
    """The first seeds of a study are there: its claims that need no more of them are decided."""
    for claim in self.waiting:
      if isinstance(claim.experiment, Trial) and (claim.experiment.study.name, self.at[claim.id]) == _name(done):
        first = sequential.first_look(claim, done)
        if not sequential.goes_on(claim, first, self.most):
          self.seen(claim, first)

  def seen(self, claim: Claim, seen: sequential.Seen) -> None:
    """A claim has had its last look."""
    self._tell(claim, seen.decided)

  def _tell(self, claim: Claim, decided: Mapping[str, Any]) -> None:
    if claim.id not in self.known:
      self.known.add(claim.id)
      self.tell(claim, decided)


def _name(done: study.Finished) -> tuple[str, str]:
  return done.study.name, done.tier


def planned(claims: Sequence[Claim], tier: str) -> list[dict[str, Any]]:
  """What a run would do: checks and benches by name, studies with their trials and steps."""
  at = {claim.id: claim.tier_for(tier) for claim in claims}
  named = {c.experiment.run: at[c.id] for c in claims if at[c.id] and isinstance(c.experiment, Check | Bench)}
  items = [{"name": name, "tier": own, "trials": 0, "steps": 0} for name, own in named.items()]
  for plan, own in measures.studies(claims, at).values():
    runs = study.runs_per_arm(plan)
    steps = runs * study.steps_per_seed(plan, own)
    items.append({"name": plan.name, "tier": own, "trials": runs * len(plan.arms_at(own)), "steps": steps})
  return items


def _row(
  claim: Claim, tier: str | None, samples, seen: Mapping[str, sequential.Seen], runner: Runner
) -> dict[str, Any]:
  device = runner.backend.get("device", "cpu")
  versions = stamp.versions()
  if tier is None or claim.experiment is None:
    return ledger.row(claim, "none", device, verdict.verdict(claim, None, 1.0), versions=versions)
  config_sha256 = today.config_sha256(claim, tier)
  if isinstance(claim.experiment, Trial):
    return _trial_row(claim, tier, config_sha256, seen[claim.id], runner)
  found = claim.experiment.samples if isinstance(claim.experiment, Citation) else samples[claim.experiment.run]
  files = today.files(claim, tier)
  arms = [ledger.arm(name, values) for name, values in found.items() if name in names(claim.experiment.test)]
  run = {"device_name": runner.backend.get("device_name", ""), "pack_width": 1}
  decided = verdict.verdict(claim, found, sequential.level(claim))
  return ledger.row(
    claim, tier, device, decided, arms=arms, config_sha256=config_sha256, code_files=files, run=run, versions=versions
  )


def _trial_row(claim: Claim, tier: str, config_sha256: str, seen: sequential.Seen, runner: Runner) -> dict[str, Any]:
  assert isinstance(claim.experiment, Trial)
  look, done, decided = seen
  plan, wanted, arms = done.study, sorted(names(claim.experiment.test)), sequential.arms_of(claim, done)
  results = [result for arm in arms for result in arm.results]
  where = results[0] if results else {}
  files = today.files(claim, tier)
  return ledger.row(
    claim,
    tier,
    where.get("device", "cpu"),
    decided,
    arms=[_arm(done, name, arms) for name in wanted],
    seeds={"tuning": plan.tuning, "reporting": plan.reporting},
    config_sha256=config_sha256,
    code_files=files,
    data_sha256=study.corpora.hashes(arms[0].config),
    trials=[key for arm in arms for key in arm.keys],
    stale=any(_stale(arm, runner) for arm in arms),
    look=look.record,
    versions=stamp.versions(),
    run={
      "device_name": where.get("device_name", ""),
      "pack_width": max((result.get("pack_width", 1) for result in results), default=1),
      "train_seconds": round(sum(result["seconds"] for result in results), 1),
    },
  )


def _stale(arm: study.Arm, runner: Runner) -> bool:
  """Whether some trial of the arm was run by other code than today's and kept, a tuning trial included."""
  current = stamp.code(arm.config)["code_sha256"]
  kept = {cohort_key(runner.store.config(key)) for key in runner.stale} if runner.options.keep_stale else set()
  others = [result for result in arm.results if result["status"] != "failed" and result.get("code_sha256") != current]
  return cohort_key(arm.config) in kept or bool(others)


def _arm(done: study.Finished, name: str, arms: Sequence[study.Arm]) -> dict[str, Any]:
  arm = next(arm for arm in arms if arm.name == name.partition(":")[0])
  values = [] if done.faults([name]) else done.samples([name])[name]
  diverged, stalled = arm.count("diverged"), arm.count("stalled")
  return ledger.arm(name, values, lr=arm.lr, lr_on_edge=arm.on_edge, diverged=diverged, stalled=stalled)
