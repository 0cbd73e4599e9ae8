"""The whole protocol on arms of which the truth is known: two that are the same, and a twin with a handicap.

Each comparison trains for itself: rates tuned on tuning seeds and the validation split, fresh seeds and the test split,
up to three looks, the verdict as for a claim. Its two arms share no seed, so that equal arms differ as much as two
equally good mechanisms do. The model is tiny, so that a thousand comparisons take minutes; the protocol is the one
that claims are judged by, and so is its code.

Functions that a worker calls; they import jax.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from experiments.protocol import looks, repeats, study, verdict
from experiments.protocol.claim import Claim, Study, Trial, greater
from experiments.run.cohorts import cohort_key
from model import build
from train import loop, metrics
from train.step import Ensemble

SETTINGS: Mapping[str, object] = {
  "task.pairs": 3,
  "task.keys": 6,
  "task.values": 6,
  "task.queries": 2,
  "task.relations": 1,
  "model.width": 16,
  "model.heads": 1,
  "model.feedforward.kind": "none",
  "train.steps": 40,
  "train.batch": 16,
  "eval.every": 10,
  "eval.batches": 1,
}
TIER, GRID = "small", (3e-3, 1e-2, 3e-2, 1e-1)
SCALE = 16**-0.5  # dot's own at this width; the twin's is a multiple of it, with which it learns more slowly
FIRST, APART, REPORTING = 10_000, 100, 12  # first seed of all, seeds from one arm to the next, seeds of a first look
LEVEL = 0.05  # one-sided, of a row that stands alone in its group
MEMBERS = 256  # trained in one call

Samples = dict[str, list[float]]


def comparisons(first: int, count: int, times: float) -> Samples:
  """The comparisons first .. first + count - 1 of dot with a twin whose scale is `times` its own.

  One number per comparison: above and below (1 where dot was found better, or worse), sure (see protocol/repeats.py),
  look, effect (mean difference in
  accuracy over training), spread (standard deviation of the differences), and whether both arms chose one rate.
  """
  laboratory, numbers = Laboratory(), range(first, first + count)
  plans = [(_plan(number, arm, times), TIER) for number in numbers for arm in ("dot", "twin")]
  halves = study.run(plans, laboratory)
  pairs = {number: (halves[2 * i], halves[2 * i + 1]) for i, number in enumerate(numbers)}
  ahead = {number: looks.schedule(REPORTING, LEVEL) for number in numbers}
  waiting, found = list(numbers), {}
  while waiting:
    seen = {number: next(ahead[number]) for number in waiting}
    n = seen[waiting[0]].n
    if n > REPORTING:
      longer = study.extended([half for number in waiting for half in pairs[number]], n, laboratory)
      pairs |= {number: (longer[2 * i], longer[2 * i + 1]) for i, number in enumerate(waiting)}
    found |= {number: _judged(pairs[number], look) for number, look in seen.items()}
    waiting = [number for number, look in seen.items() if not found[number]["sure"] and not look.last]
  return {name: [float(found[number][name]) for number in numbers] for name in found[first]}


class Laboratory:
  """Runs trials as `experiments.run.runner` does, but in this process, many at once, and keeps nothing on disk."""

  def __init__(self, members: int | None = None):
    self.members = members or MEMBERS
    self.prepared: dict[str, tuple[Ensemble, Callable]] = {}

  def expect(self, steps: int) -> None:
    """Nothing to show."""

  def trials(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Results by key."""
    cohorts: dict[tuple[str, str], list[str]] = {}
    for key, config in points.items():
      cohorts.setdefault((cohort_key(config), config["eval"]["split"]), []).append(key)
    found = {}
    for (cohort, _), keys in cohorts.items():
      for start in range(0, len(keys), self.members):
        some = keys[start : start + self.members]
        found |= zip(some, self._results(cohort, [points[key] for key in some]), strict=True)
    return found

  def _results(self, cohort: str, configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if cohort not in self.prepared:
      self.prepared[cohort] = _prepare(configs[0])
    whole, draw = self.prepared[cohort]
    padded = [*configs, *[configs[-1]] * (-len(configs) % self.members)]  # one shape is one compile
    data = {split: whole.task.data(split) for split in ("train", configs[0]["eval"]["split"])}
    start = draw(whole.members(padded)), [[] for _ in padded]
    fitted = loop.fit(whole, padded, data["train"], data[configs[0]["eval"]["split"]], start=start)
    return [_result(fitted.curves[index], config) for index, config in enumerate(configs)]


def _prepare(config: Mapping[str, Any]) -> tuple[Ensemble, Callable]:
  """The cohort's compiled functions, and its first states drawn for all members in one call."""
  whole = Ensemble(config, build.make("tasks", dict(config["task"]), package="train"))
  init = config["model"]["init"]
  scheme = init["kind"], init["qk"], tuple(init[name] for name in ("gain", "qk_gain", "out_gain"))
  return whole, jax.jit(jax.vmap(lambda member: whole.draw(member, scheme)))


def _result(rows, config: Mapping[str, Any]) -> dict[str, Any]:
  status, cause = metrics.status(rows)
  measures = metrics.summary(rows, config["train"]["steps"] // config["eval"]["every"])
  return {"status": status, "cause": cause, "measures": measures, "seconds": 0.0}


def _plan(number: int, arm: str, times: float) -> Study:
  """One arm of comparison `number` as a study of its own, with seeds that no other arm and no other comparison has."""
  start = FIRST + 2 * APART * number + (APART if arm == "twin" else 0)
  settings = dict(SETTINGS) | {"model.attention.scale": SCALE * (times if arm == "twin" else 1.0)}
  return Study(
    name=f"{arm} {number}",
    card="recall",
    arms={arm: settings},
    metric="auc",
    tiers={TIER: {}},
    grid=GRID,
    tuning=tuple(range(start, start + 3)),
    reporting=tuple(range(start + 10, start + 10 + REPORTING)),
  )


def _judged(pair: tuple[study.Finished, study.Finished], look: looks.Look) -> dict[str, float]:
  """One look at one comparison, as a row is looked at."""
  dot, twin = pair
  both = dataclasses.replace(dot, arms={**dot.arms, **twin.arms})
  test = greater("dot", "twin", 0.0)
  claim = Claim(
    id="A-A", document="extension", place="extension", statement="", measure="auc", experiment=Trial(dot.study, test)
  )
  samples, arms = both.samples(["dot", "twin"]), both.arms.values()
  decided = verdict.verdict(claim, samples, look.level, edge=any(arm.on_edge for arm in arms))
  differences = [a - b for a, b in zip(samples["dot"], samples["twin"], strict=True)]
  mean = sum(differences) / look.n
  return {
    "above": decided["verdict"] == "reproduced",
    "below": decided["verdict"] == "refuted",
    "sure": repeats.is_sure(decided),
    "look": look.number,
    "effect": mean,
    "spread": (sum((d - mean) ** 2 for d in differences) / (look.n - 1)) ** 0.5,
    "one_rate": len({arm.lr for arm in arms}) == 1,
  }
