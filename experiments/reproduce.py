"""From claims to ledger rows: gathers the evidence that the claims need, runs what is missing, decides each row."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments import calls, ledger, looks, measures, scales, stamp, study, today, verdict
from experiments.claim import All, Bench, Check, Citation, Claim, Contrast, Equivalent, Moderated, Study, Test, Trial
from experiments.claims import catalog
from experiments.cohorts import cohort_key
from experiments.runner import Runner
from experiments.today import names

SINGLE_LOOK = ("exact", "quick")  # tiers that stop after the first look, decided or not


class Outcome(NamedTuple):
  """All that one command found: rows in claim order, and the studies behind them for the report."""

  rows: list[dict[str, Any]]
  studies: list[study.Finished]


def run(claims: Sequence[Claim], tier: str, runner: Runner) -> Outcome:
  """Rows of these claims at the largest tier of their own that `tier` includes; the rest come out untested."""
  started = time.monotonic()
  at = {claim.id: claim.tier_for(tier) for claim in claims}
  ready = [claim for claim in claims if at[claim.id]]
  called = [c.experiment for c in ready if isinstance(c.experiment, Check | Bench)]
  runner.expect(sum(item["steps"] for item in planned(ready, tier)))
  samples = calls.run(called, runner)
  wanted = _studies(ready, at)
  finished = {(f.study.name, f.tier): f for f in study.run(list(wanted.values()), runner)}
  tried = [claim for claim in ready if isinstance(claim.experiment, Trial)]
  seen = looked(tried, at, finished, 1 if tier in SINGLE_LOOK else looks.MOST, runner)
  rows = []
  for claim in claims:
    row = _row(claim, at[claim.id], samples, seen, runner)
    row["run"] = {"date": time.strftime("%Y-%m-%d"), "seconds": round(time.monotonic() - started, 1)} | row["run"]
    rows.append(row)
  return Outcome(rows, list(finished.values()))


class Seen(NamedTuple):
  """A row after its last look: the study as far as it was looked at, and what came out."""

  look: looks.Look
  done: study.Finished
  decided: dict[str, Any]


def looked(
  claims: Sequence[Claim], at: Mapping[str, str | None], finished: dict[Any, study.Finished], most: int, runner: Runner
) -> dict[str, Seen]:
  """Looks at these claims' studies until each is decided or has had `most` looks; by id.

  `finished` (by study and tier) holds the first look's seeds and grows with those of later ones. A row stops at its own
  decision, so that what it shows does not depend on the other claims of its study.
  """
  ahead = {claim.id: looks.schedule(len(_study(claim).reporting), _level(claim)) for claim in claims}
  waiting, seen = list(claims), {}
  while waiting:
    for claim in waiting:
      look = next(ahead[claim.id])
      seen[claim.id] = _look(claim, look, finished[_study(claim).name, at[claim.id]].first(look.n))
    waiting = [claim for claim in waiting if seen[claim.id].look.number < most and _is_open(claim, seen[claim.id])]
    _extend({(_study(claim).name, at[claim.id]): 2 * seen[claim.id].look.n for claim in waiting}, finished, runner)
  return seen


def _look(claim: Claim, look: looks.Look, done: study.Finished) -> Seen:
  """One look at one claim."""
  assert isinstance(claim.experiment, Trial)
  wanted = sorted(names(claim.experiment.test))
  arms = _arms(claim, done)
  if faults := done.faults(wanted):
    return Seen(look, done, _unanswered(faults))
  decided = verdict.verdict(claim, done.samples(wanted), look.level, edge=any(arm.on_edge for arm in arms))
  decided["tests"] = _kept_in_range(decided["tests"], claim.experiment.test, done)
  if not look.can_decide and any(test["rule"] == "T" for test in decided["tests"]):
    few = f"{look.n} seeds are too few for an exact test at the level {look.level:.2g}"
    decided |= {**_OPEN, "reason": f"{few}; {decided['reason']}"}
  if look.number > 1 or decided["verdict"] == "inconclusive":
    decided["reason"] += f" Look {look.number} of {look.of}."
  return Seen(look, done, decided)


_OPEN = {"verdict": "inconclusive", "condition": None}


def _is_open(claim: Claim, seen: Seen) -> bool:
  """Whether further seeds may decide: they do not where a rate stays on the grid's edge, or where runs failed."""
  assert isinstance(claim.experiment, Trial)
  stuck = any(arm.on_edge for arm in _arms(claim, seen.done)) or seen.done.faults(names(claim.experiment.test))
  return seen.decided["verdict"] == "inconclusive" and not seen.look.last and not stuck


def _extend(wanted: Mapping[Any, int], finished: dict[Any, study.Finished], runner: Runner) -> None:
  """Brings these studies to so many reporting seeds."""
  for n in sorted(set(wanted.values())):
    short = {key: finished[key] for key in wanted if wanted[key] == n and len(finished[key].study.reporting) < n}
    finished |= zip(short, study.extended(list(short.values()), n, runner), strict=True)


def _study(claim: Claim) -> Study:
  assert isinstance(claim.experiment, Trial)
  return claim.experiment.study


def _level(claim: Claim) -> float:
  return verdict.level(catalog.group(claim.group))


def _arms(claim: Claim, done: study.Finished) -> list[study.Arm]:
  """The arms that the claim's test reads."""
  assert isinstance(claim.experiment, Trial)
  used = {name.partition(":")[0] for name in names(claim.experiment.test)}
  return [arm for name, arm in done.arms.items() if name in used]


def ready(claims: Sequence[Claim], tier: str) -> None:
  """Raises Refused, before anything runs, for a test that names no sample of its study, and for data not installed."""
  for claim in claims:
    if isinstance(claim.experiment, Trial) and (tier_of_claim := claim.tier_for(tier)):
      measures.refuse_unknown(claim.experiment.study, names(claim.experiment.test), tier_of_claim)
  for plan, at in _studies(claims, {claim.id: claim.tier_for(tier) for claim in claims}).values():
    study.corpora.present(study.point(plan, at, next(iter(plan.arms)), lr=plan.grid[0], seed=0, split="test"))


def planned(claims: Sequence[Claim], tier: str) -> list[dict[str, Any]]:
  """What a run would do: checks and benches by name, studies with their trials and steps."""
  at = {claim.id: claim.tier_for(tier) for claim in claims}
  named = {c.experiment.run: at[c.id] for c in claims if at[c.id] and isinstance(c.experiment, Check | Bench)}
  items = [{"name": name, "tier": own, "trials": 0, "steps": 0} for name, own in named.items()]
  for plan, own in _studies(claims, at).values():
    runs = study.runs_per_arm(plan)
    steps = runs * study.steps_per_seed(plan, own)
    items.append({"name": plan.name, "tier": own, "trials": runs * len(plan.arms_at(own)), "steps": steps})
  return items


def contrasts(test: Test) -> list[Contrast]:
  """Every contrast of a test."""
  match test:
    case Contrast():
      return [test]
    case Equivalent():
      return [test.contrast, test.worse]
    case All():
      return [one for part in test.parts for one in contrasts(part)]
    case Moderated():
      cells = [one for cell in test.cells.values() for one in contrasts(cell)]
      return cells + ([test.interaction] if test.interaction else [])
    case _:
      return []


def _studies(claims: Iterable[Claim], at: Mapping[str, str | None]) -> dict[Any, tuple[Any, str]]:
  """Each (study, tier) once, whatever the number of claims that read it."""
  wanted: dict[Any, tuple[Any, str]] = {}
  for claim in claims:
    tier = at[claim.id]
    if not tier or not isinstance(claim.experiment, Trial):
      continue
    item = claim.experiment.study
    held = wanted.setdefault((item.name, tier), (item, tier))
    if held[0] != item:
      raise ValueError(f"two different studies are named {item.name!r}")
  return wanted


def _row(claim: Claim, tier: str | None, samples, seen: Mapping[str, Seen], runner: Runner) -> dict[str, Any]:
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
  decided = verdict.verdict(claim, found, _level(claim))
  return ledger.row(
    claim, tier, device, decided, arms=arms, config_sha256=config_sha256, code_files=files, run=run, versions=versions
  )


def _trial_row(claim: Claim, tier: str, config_sha256: str, seen: Seen, runner: Runner) -> dict[str, Any]:
  assert isinstance(claim.experiment, Trial)
  look, done, decided = seen
  plan, wanted, arms = done.study, sorted(names(claim.experiment.test)), _arms(claim, done)
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


def _kept_in_range(tests: Any, test: Test, done: study.Finished) -> list[dict[str, Any]]:
  """The lines of a row, Student's intervals cut to what an effect can be: a difference of two shares ends at 1."""
  reach: dict[str, list[tuple[float, float]]] = {}
  for part in contrasts(test):
    ends = [_ends(weight, *_range(name, done)) for name, weight in part.weights.items() if weight]
    reach.setdefault(part.name, []).append((sum(low for low, _ in ends), sum(high for _, high in ends)))
  kept = []
  for line in tests:
    low, high = zip(*reach.get(line["name"], [(-math.inf, math.inf)]), strict=True)
    cut = tuple(min(max(end, min(low)), max(high)) for end in line["ci"]) if line["rule"] == "T" else None
    kept.append(line | {"ci": cut} if cut else line)
  return kept


def _ends(weight: float, low: float, high: float) -> tuple[float, float]:
  return (weight * low, weight * high) if weight > 0 else (weight * high, weight * low)


def _range(name: str, done: study.Finished) -> tuple[float, float]:
  arm, _, measure = name.partition(":")
  metric = measure if measure not in ("", "window") else done.study.metric
  return scales.scale(done.arms[arm].config, metric)[1:3]


def _unanswered(faults: Sequence[str]) -> dict[str, Any]:
  """What is decided where a number is missing: nothing, and the reason names what is missing and its cause."""
  reason = f"no answer: {'; '.join(faults)}; correct the cause and run the command again."
  return {"verdict": "inconclusive", "condition": None, "reason": reason, "tests": []}


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
