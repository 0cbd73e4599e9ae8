"""Looks at claims: their studies grow from 12 to 24 to 48 reporting seeds until each is decided; see `looks`.

A row stops at the first decision that as many fresh seeds would repeat with probability .8 (see `repeats`). At the last
look it is what the test says. Stopping later than at the first decision decides no true null more often.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.protocol import catalog, looks, repeats, scales, study, verdict
from experiments.protocol.claim import All, Claim, Contrast, Equivalent, Moderated, Study, Test, Trial, names


class Seen(NamedTuple):
  """A row after its last look: the study as far as it was looked at, and what came out."""

  look: looks.Look
  done: study.Finished
  decided: dict[str, Any]


def looked(
  claims: Sequence[Claim],
  at: Mapping[str, str | None],
  finished: dict[Any, study.Finished],
  most: int,
  runner: study.Runner,
  told: Callable[[Claim, Seen], None] = lambda claim, seen: None,
) -> dict[str, Seen]:
  """Looks at these claims' studies until each is decided or has had `most` looks; by id.

  `finished` (by study and tier) holds the first look's seeds and grows with those of later ones. A row stops at its own
  decision, so that what it shows does not depend on the other claims of its study. `told` gets each claim after its
  last look.
  """
  ahead = {claim.id: looks.schedule(len(study_of(claim).reporting), level(claim)) for claim in claims}
  waiting, seen = list(claims), {}
  while waiting:
    for claim in waiting:
      look = next(ahead[claim.id])
      seen[claim.id] = look_at(claim, look, finished[study_of(claim).name, at[claim.id]].first(look.n))
    ended = [claim for claim in waiting if not goes_on(claim, seen[claim.id], most)]
    waiting = [claim for claim in waiting if claim not in ended]
    for claim in ended:
      told(claim, seen[claim.id])
    _extend({(study_of(claim).name, at[claim.id]): 2 * seen[claim.id].look.n for claim in waiting}, finished, runner)
  return seen


def first_look(claim: Claim, done: study.Finished) -> Seen:
  """The first look at a claim of this study."""
  look = next(looks.schedule(len(study_of(claim).reporting), level(claim)))
  return look_at(claim, look, done.first(look.n))


def goes_on(claim: Claim, seen: Seen, most: int) -> bool:
  """Whether another look follows, of `most` that there may be."""
  return seen.look.number < most and _is_open(claim, seen)


def look_at(claim: Claim, look: looks.Look, done: study.Finished) -> Seen:
  """One look at one claim."""
  assert isinstance(claim.experiment, Trial)
  wanted = sorted(names(claim.experiment.test))
  arms = arms_of(claim, done)
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
  """Whether further seeds may decide, or make sure: not where a rate stays on the grid's edge, or where runs failed."""
  assert isinstance(claim.experiment, Trial)
  stuck = any(arm.on_edge for arm in arms_of(claim, seen.done)) or seen.done.faults(names(claim.experiment.test))
  return not repeats.is_sure(seen.decided) and not seen.look.last and not stuck


def _extend(wanted: Mapping[Any, int], finished: dict[Any, study.Finished], runner: study.Runner) -> None:
  """Brings these studies to so many reporting seeds."""
  for n in sorted(set(wanted.values())):
    short = {key: finished[key] for key in wanted if wanted[key] == n and len(finished[key].study.reporting) < n}
    finished |= zip(short, study.extended(list(short.values()), n, runner), strict=True)


def study_of(claim: Claim) -> Study:
  """The study of a claim that trains."""
  assert isinstance(claim.experiment, Trial)
  return claim.experiment.study


def level(claim: Claim) -> float:
  """The one-sided level of the claim's row, for all its looks together."""
  return verdict.level(catalog.group(claim.group))


def arms_of(claim: Claim, done: study.Finished) -> list[study.Arm]:
  """The arms that the claim's test reads."""
  assert isinstance(claim.experiment, Trial)
  used = {name.partition(":")[0] for name in names(claim.experiment.test)}
  return [arm for name, arm in done.arms.items() if name in used]


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
