"""The protocol: a learning rate tuned per arm with equal budget on tuning seeds and the validation split, then fresh
seeds on the test split. Nothing here knows what a claim hopes for.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from configs import override
from experiments import corpora
from experiments.claim import Study
from experiments.cohorts import canonical, trial_key

GROWTH = 3.0  # a best rate on the grid's edge grows the grid by this factor, for all arms alike
GROWTHS = 3  # at most; an arm that is still best on the edge says so in its row

Result = dict[str, Any]


class Runner(Protocol):
  """What runs trials: `experiments.runner`, or whatever else answers with their results."""

  def trials(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, Result]:
    """Results by key."""
    ...

  def expect(self, steps: int) -> None:
    """Is told how many training steps will be asked for later."""


@dataclasses.dataclass(frozen=True)
class Arm:
  """One arm as run: the chosen rate, its tuning curve and the reporting trials in the order of their seeds."""

  name: str
  lr: float
  on_edge: bool
  tuning: tuple[tuple[float, float], ...]  # (lr, mean metric over the tuning seeds), in rising order
  keys: tuple[str, ...]
  results: tuple[Result, ...]
  config: Mapping[str, Any]  # of the first reporting seed
  window: tuple[tuple[Result, ...], ...] = ()  # reporting trials at each rate of the study's window

  def first(self, n: int) -> "Arm":
    """The arm with its first n reporting trials alone."""
    window = tuple(results[:n] for results in self.window)
    return dataclasses.replace(self, keys=self.keys[:n], results=self.results[:n], window=window)

  def count(self, status: str) -> int:
    return sum(result["status"] == status for result in self.results)

  def values(self, measure: str, better: str) -> list[float]:
    """One number per reporting seed; a number that is not finite becomes the worst that the run can stand for."""
    return [finite(result, measure, better) for result in self.results]

  def over_window(self, metric: str, better: str) -> list[float]:
    """The metric's mean over the window's rates, per reporting seed."""
    rows = [[finite(result, metric, better) for result in results] for results in self.window]
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


@dataclasses.dataclass(frozen=True)
class Finished:
  """A study as run at one tier."""

  study: Study
  tier: str
  arms: Mapping[str, Arm]
  runs_tried: int  # arms times learning rates

  @property
  def failed(self) -> int:
    return sum(arm.count("failed") for arm in self.arms.values())

  def first(self, n: int) -> "Finished":
    """The same study as it stood after its first n reporting seeds."""
    arms = {name: arm.first(n) for name, arm in self.arms.items()}
    return dataclasses.replace(self, study=dataclasses.replace(self.study, reporting=seeds(self.study, n)), arms=arms)

  def samples(self, names: Iterable[str]) -> dict[str, list[float]]:
    """Samples by name: "arm" is the study's metric, "arm:measure" another measure of the same trials."""
    return {name: self._sample(name) for name in names}

  def _sample(self, name: str) -> list[float]:
    arm, _, measure = name.partition(":")
    if measure == "window":
      return self.arms[arm].over_window(self.study.metric, self.study.better)
    return self.arms[arm].values(measure or self.study.metric, self.study.better)


def finite(result: Result, measure: str, better: str) -> float:
  """A run's measure; where it is not finite, its initial loss (smaller is better) or 0 (larger is better)."""
  value = result["measures"].get(measure, math.nan)
  if math.isfinite(value):
    return value
  return result["measures"].get("initial_loss", math.nan) if better == "min" else 0.0


def point(
  study: Study, tier: str, arm: str, *, lr: float, seed: int, split: str, probed: bool = True
) -> dict[str, Any]:
  """The resolved config of one trial. Probes and decoding belong to reporting trials only."""
  resolved = _resolved(study.card, canonical({**study.tiers[tier], **study.arms[arm], "optim.lr": study.grid[0]}))
  options = {"seed": seed, "optim": resolved["optim"] | {"lr": float(lr)}}
  if split == "test" and probed:
    return resolved | options | {"probes": list(study.probes), "eval": resolved["eval"] | {"split": split}}
  return resolved | options | {"probes": [], "eval": resolved["eval"] | {"split": split, "judge": False}}


@functools.lru_cache(maxsize=1024)
def _resolved(card: str, settings: str) -> dict[str, Any]:
  """The config that all trials of an arm share; nobody writes into it."""
  return override.resolve(override.load(card, shared=json.loads(settings)))


def run(studies: Sequence[tuple[Study, str]], runner: Runner) -> list[Finished]:
  """Runs (study, tier) pairs stage by stage, all studies' trials of a stage together."""
  grids = [study.grid for study, _ in studies]
  runner.expect(sum(len(study.reporting) * steps_per_seed(study, tier) for study, tier in studies))
  tuned = _tune(studies, grids, runner)
  for _ in range(GROWTHS):
    grown = [_grow(study, grid, means) for (study, _), grid, means in zip(studies, grids, tuned, strict=True)]
    if grown == grids:
      break
    grids, tuned = grown, _tune(studies, grown, runner)
  chosen = [
    {a: _best(plan, rates) for a, rates in means.items()} for (plan, _), means in zip(studies, tuned, strict=True)
  ]
  runner.expect(0)
  return _report(studies, grids, tuned, chosen, runner)


def steps_per_seed(study: Study, tier: str) -> int:
  """Training steps of one run of every arm."""
  points = (point(study, tier, arm, lr=study.grid[0], seed=0, split="test") for arm in study.arms_at(tier))
  return sum(config["train"]["steps"] for config in points)


def _tune(studies, grids, runner: Runner) -> list[dict[str, dict[float, float]]]:
  """Mean metric by arm and rate, over the tuning seeds on the validation split."""
  points = {
    (index, arm, lr, seed): point(study, tier, arm, lr=lr, seed=seed, split="validation")
    for index, ((study, tier), grid) in enumerate(zip(studies, grids, strict=True))
    for arm in study.arms_at(tier)
    for lr in grid
    for seed in study.tuning
  }
  results = _trials(points, runner)
  return [
    {
      arm: {lr: _mean(study, [results[index, arm, lr, s] for s in study.tuning]) for lr in grid}
      for arm in study.arms_at(tier)
    }
    for index, ((study, tier), grid) in enumerate(zip(studies, grids, strict=True))
  ]


def _trials(points: Mapping[Any, dict[str, Any]], runner: Runner) -> dict[Any, Result]:
  keys = {label: trial_key(config, corpora.hashes(config)) for label, config in points.items()}
  results = runner.trials({keys[label]: config for label, config in points.items()})
  return {label: results[key] | {"key": key} for label, key in keys.items()}


def _mean(study: Study, results: Sequence[Result]) -> float:
  values = [finite(result, study.metric, study.better) for result in results]
  return sum(values) / len(values)


def _best(study: Study, means: Mapping[float, float]) -> float:
  """The best rate by the tuning seeds; ties go to the smaller rate; NaN is never best."""
  sign = 1.0 if study.better == "max" else -1.0
  return min(means, key=lambda lr: (-sign * means[lr] if math.isfinite(means[lr]) else math.inf, lr))


def _on_edge(study: Study, means: Mapping[float, float]) -> bool:
  """Whether the best rate is the smallest or the largest, and none between does as well."""
  lr = _best(study, means)
  return lr in (min(means), max(means)) and not any(
    means[other] == means[lr] for other in means if min(means) < other < max(means)
  )


def _grow(study: Study, grid: tuple[float, ...], means: Mapping[str, Mapping[float, float]]) -> tuple[float, ...]:
  """The grid, grown by a point on each side where some arm's best rate lies on the edge."""
  best = {_best(study, by_rate) for by_rate in means.values() if _on_edge(study, by_rate)}
  low = (round(min(grid) / GROWTH, 12),) if min(grid) in best else ()
  high = (round(max(grid) * GROWTH, 12),) if max(grid) in best else ()
  return (*low, *sorted(grid), *high)


def _report(studies, grids, tuned, chosen, runner: Runner) -> list[Finished]:
  points = {
    (index, arm, seed): point(study, tier, arm, lr=chosen[index][arm], seed=seed, split="test")
    for index, (study, tier) in enumerate(studies)
    for arm in study.arms_at(tier)
    for seed in study.reporting
  }
  points |= {
    (index, arm, seed, lr): point(study, tier, arm, lr=lr, seed=seed, split="test", probed=False)
    for index, (study, tier) in enumerate(studies)
    for arm in study.arms_at(tier)
    for lr in study.window
    for seed in study.reporting
  }
  results = _trials(points, runner)
  finished = []
  for index, (study, tier) in enumerate(studies):
    grid, arms = grids[index], {}
    for name in study.arms_at(tier):
      lr, trials = chosen[index][name], [results[index, name, seed] for seed in study.reporting]
      arms[name] = Arm(
        name=name,
        lr=lr,
        on_edge=_on_edge(study, tuned[index][name]),
        tuning=tuple(sorted(tuned[index][name].items())),
        keys=tuple(trial["key"] for trial in trials),
        window=tuple(tuple(results[index, name, seed, rate] for seed in study.reporting) for rate in study.window),
        results=tuple(trials),
        config=points[index, name, study.reporting[0]],
      )
    finished.append(Finished(study, tier, arms, runs_tried=len(grid) * len(arms)))
  return finished


def seeds(study: Study, n: int) -> tuple[int, ...]:
  """The first n reporting seeds: the study's own, then those that follow the largest of them."""
  after = max(study.reporting) + 1
  return (*study.reporting, *range(after, after + max(n - len(study.reporting), 0)))[:n]


def extended(finished: Sequence[Finished], n: int, runner: Runner) -> list[Finished]:
  """These studies with n reporting seeds: the same arms at the rates that were chosen before, on further seeds."""
  fresh = [seeds(done.study, n)[len(done.study.reporting) :] for done in finished]
  points = {
    (index, name, seed, rate): point(done.study, done.tier, name, lr=lr, seed=seed, split="test", probed=rate is None)
    for index, done in enumerate(finished)
    for name, arm in done.arms.items()
    for rate, lr in ((None, arm.lr), *((rate, rate) for rate in done.study.window))
    for seed in fresh[index]
  }
  results = _trials(points, runner)
  longer = []
  for index, done in enumerate(finished):
    arms = {}
    for name, arm in done.arms.items():
      more = {
        rate: tuple(results[index, name, seed, rate] for seed in fresh[index]) for rate in (None, *done.study.window)
      }
      arms[name] = dataclasses.replace(
        arm,
        keys=(*arm.keys, *(trial["key"] for trial in more[None])),
        results=(*arm.results, *more[None]),
        window=tuple((*held, *more[rate]) for held, rate in zip(arm.window, done.study.window, strict=True)),
      )
    plan = dataclasses.replace(done.study, reporting=seeds(done.study, n))
    longer.append(dataclasses.replace(done, study=plan, arms=arms))
  return longer
