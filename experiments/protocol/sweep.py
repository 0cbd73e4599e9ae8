"""A user's sweep: points times seeds at the card's own learning rate, resumable, with intervals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs import override
from configs import sweep as axes
from experiments.protocol import measures, scales
from experiments.protocol.claim import Study
from experiments.protocol.study import Arm, Finished, finite, missing
from experiments.record import corpora
from experiments.run.cohorts import trial_key
from experiments.run.runner import Runner
from model.errors import Refused

SEED_BASE = 1000  # a sweep's seeds are neither tuning nor reporting seeds of any claim


def points(card: str, overrides: override.Overrides, given_axes: Sequence[str] | Mapping) -> dict[str, dict[str, Any]]:
  """Name -> resolved config of every point: the axes crossed, or the card's own sweep().

  axes: texts "model.heads=1,2", or {"model.heads": [1, 2]}.
  """
  chosen = axes.product(*_axes(given_axes)) if given_axes else override.points(card)
  base = override.load(card, shared=overrides)
  _refuse_seed(settings(overrides), "--config.")
  named: dict[str, dict[str, Any]] = {}
  for point in chosen:
    _refuse_seed(point, "")
    name = label(point)
    if name in named:
      raise Refused(f"two points of the sweep are named {name!r}; give axes whose last names differ")
    named[name] = override.resolve(base, point)
  override.refuse_idle_shared(card, overrides, named.values())
  measures.refuse_equal(named, {name: name for name in named}, "points ")
  return named


def settings(overrides: override.Overrides) -> dict[str, object]:
  """Overrides as {dotted key: value}, whether given so or as texts "key=value"."""
  pairs: Any = overrides if isinstance(overrides, Mapping) else [text.split("=", 1) for text in overrides]
  return dict(pairs)


def _axes(given: Sequence[str] | Mapping) -> list[dict[str, list]]:
  if not isinstance(given, Mapping):
    return [axes.axis(text) for text in given]
  return [
    axes.axis(f"{key}={many}") if isinstance(many, str) else {key: _each(key, many)} for key, many in given.items()
  ]


def _each(key: str, many: Any) -> list:
  """The values of an axis, at least one and each once."""
  if not isinstance(many, Iterable) or not (found := list(many)):
    raise Refused(f"axis {key!r} is {many!r}; allowed: a list of values such as [1, 2, 4]")
  if len({repr(value) for value in found}) < len(found):
    raise Refused(f"axis {key!r} names a value twice; name each once")
  return found


def _refuse_seed(settings: Mapping[str, object], prefix: str) -> None:
  if "seed" in settings:
    raise Refused(
      f"{prefix}seed={settings['seed']} would be overwritten: a sweep runs seeds {SEED_BASE}, {SEED_BASE + 1}, ... of"
      " every point; --seeds=N says how many"
    )


def numbered(seeds: int) -> tuple[int, ...]:
  """The seeds of a sweep with so many seeds per point."""
  return tuple(range(SEED_BASE, SEED_BASE + seeds))


def label(point: Mapping[str, object]) -> str:
  """Short name of a point: {"model.heads": 4, "optim.lr": 0.01} -> "heads=4 lr=0.01"."""
  parts = []
  for key, value in point.items():
    *_, parent, last = ("", *key.split("."))
    parts.append(f"{parent}={value}" if last == "kind" else f"{last}={value}")
  return " ".join(parts) or "card"


def run(card: str, named: Mapping[str, dict[str, Any]], seeds: int, metric: str, runner: Runner) -> Finished:
  """Runs every point at `seeds` seeds and returns them as a study without tuning."""
  numbers = numbered(seeds)
  trials: dict[tuple[str, int], str] = {}
  configs: dict[str, dict[str, Any]] = {}
  for name, config in named.items():
    for seed in numbers:
      one = config | {"seed": seed}
      key = trial_key(one, corpora.hashes(one))
      trials[name, seed], configs[key] = key, one
  results = runner.trials(configs)
  arms = {}
  for name, config in named.items():
    keys = tuple(trials[name, seed] for seed in numbers)
    found = tuple(results[key] | {"key": key} for key in keys)
    arms[name] = Arm(name, config["optim"]["lr"], False, (), keys, found, config)
  first = next(iter(named)).partition("=")[0]
  plan = Study(f"sweep of {card}", card, {name: {} for name in named}, metric, {}, reporting=numbers, x=first)
  return Finished(plan, "sweep", arms, len(arms))


def summary(done: Finished, measures: Sequence[str]) -> list[dict[str, Any]]:
  """Mean and 95 % interval of each measure per point; runs that did not train are counted beside.

  A run that diverged counts as `study.finite` says; one that failed, or has nothing to stand for its number, has no
  part in the mean, which the measure's own `n` tells.
  """
  rows = []
  for arm in done.arms.values():
    row: dict[str, Any] = {"point": arm.name, "n": len(arm.results)}
    row |= {measure: figures(arm, measure) for measure in measures}
    row |= {status: arm.count(status) for status in ("diverged", "stalled", "failed")}
    row["stale"] = sum(bool(result.get("stale")) for result in arm.results)
    rows.append(row)
  return rows


def figures(arm: Arm, measure: str) -> dict[str, Any]:
  """{"mean", "ci", "n", "method"} of the runs that have the measure: by sign-flip, or by Student's t for few seeds."""
  from experiments.protocol import stats

  told = [finite(result, measure) for result in arm.results if not missing(result, measure)]
  values = [value for value in told if math.isfinite(value)]
  if not values:
    return {"mean": math.nan, "ci": [math.nan, math.nan], "n": 0, "method": "none"}
  scale = scales.scale(arm.config, measure)
  found = stats.within(stats.interval(values, 0.025), scale.low, scale.high)
  return {"mean": sum(values) / len(values), "ci": [found.low, found.high], "n": len(values), "method": found.method}
