"""Two or more arms on one card: every arm tuned with equal budget, fresh paired seeds, effect, interval and cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from configs import override
from configs import sweep as axes
from configs import values as types
from experiments.protocol import measures, scales, study
from experiments.protocol.claim import Study
from experiments.protocol.sweep import label
from experiments.protocol.sweep import settings as settings_of
from experiments.run.runner import Runner
from model.errors import Refused
from model.schema import suggestion

SHORT = {
  "attention": "model.attention.kind",
  "position": "model.position.kind",
  "feedforward": "model.feedforward.kind",
}
OVERWRITTEN = {  # keys that the protocol sets for every trial, and what sets them here
  "seed": "--seeds=N runs N fresh paired seeds",
  "optim.lr": "--lrs=1e-3,1e-2 are the rates tuned over, --lrs=1e-2 alone is a fixed one",
  "eval.split": "rates are chosen on the validation split and arms compared on the test split",
  "eval.judge": "--metric=wer or per decodes",
  "probes": "--metric=probe.NAME.KEY runs the probe",
}
LEVEL = 0.025  # one-sided, of a 95 % interval
NO_ANSWER = "no answer"
FRESH = 200  # first seed of a comparison: neither tuning nor reporting seed of a claim


def arms(
  card: str, overrides: override.Overrides, given: Sequence[str | Mapping[str, object]]
) -> dict[str, dict[str, Any]]:
  """Name -> overrides of each arm; one arm is "attention=dot,model.heads=8", or {"attention": "dot", "model.heads": 8}.

  Two equal arms make an A/A test.
  """
  if len(given) < 2:
    raise Refused(
      f"compare needs two arms, received {len(given)} ({' '.join(map(_text, given))}); add another, such as "
      "attention=additive"
    )
  shared, configs = settings_of(overrides), []
  _refuse_overwritten(shared, "--config.")
  named: dict[str, dict[str, Any]] = {}
  for arm in given:
    point, text = _point(arm), _text(arm)
    _refuse_overwritten(point, "")
    settings = shared | point
    configs.append(override.load(card, point, shared=shared))  # refuses here, before anything runs
    name = label(point)
    if name in named and named[name] != settings:
      name = text  # last names of the keys do not tell them apart
    named[name if name not in named else f"{name} ({len(named) + 1})"] = settings
  override.refuse_idle_shared(card, shared, configs)
  return named


def _point(arm: str | Mapping[str, object]) -> dict[str, object]:
  """What an arm sets, short names written out."""
  if isinstance(arm, Mapping):
    if not arm:
      raise Refused("an arm sets nothing; give for instance {'attention': 'dot'}")
    return {_written_out(key): value for key, value in arm.items()}
  point: dict[str, object] = {}
  for part in axes.split(arm, f"arm {arm!r}"):
    key, equals, value = part.partition("=")
    if not equals or not key or not value:
      raise Refused(f"arm {arm!r} is not KEY=VALUE or KEY=VALUE,KEY=VALUE; write for instance attention=dot")
    point[_written_out(key)] = value
  return point


def _written_out(key: str) -> str:
  """A short name as the key that it stands for. Raises Refused for one that is misspelt."""
  if "." not in key and key not in SHORT and (meant := suggestion(key, SHORT)):
    raise Refused(f"an arm sets {key}, which is no key: {meant}short names are {', '.join(SHORT)}")
  return SHORT.get(key, key)


def _text(arm: str | Mapping[str, object]) -> str:
  """An arm as the command line writes it."""
  return arm if isinstance(arm, str) else ",".join(f"{key}={value}" for key, value in arm.items())


def _refuse_overwritten(settings: Mapping[str, object], prefix: str) -> None:
  for key in OVERWRITTEN.keys() & settings.keys():
    raise Refused(f"{prefix}{key}={settings[key]} would be overwritten by the protocol; {OVERWRITTEN[key]}")


def as_study(
  card: str, named: dict[str, dict[str, Any]], metric: str, seeds: int, lrs: str, better: str | None = None
) -> Study:
  """The comparison as a study. Raises Refused for what it could not answer, before anything runs."""
  if seeds < 2:
    raise Refused(f"--seeds={seeds} tells nothing about the spread between seeds; allowed: 2 or more, default 12")
  fresh = tuple(range(FRESH, FRESH + seeds))
  chosen = Study(f"compare on {card}", card, named, metric, {"quick": {}}, rates(lrs), "max", reporting=fresh, x="arm")
  configs = configs_of(chosen)
  measures.refuse_equal(configs, named, "arms ")
  ways = set()
  for arm, config in configs.items():
    if not scales.has(config, metric):
      raise Refused(f"--metric={metric} is no measure of {arm!r}: {measures.unknown(config, metric)}")
    ways.add(scales.scale(config, metric).better)
  return replace(chosen, better=_better(metric, ways, better))


def _better(metric: str, ways: set[str], given: str | None) -> str:
  """Which way is better: as the measure says, or as the user does where it says nothing."""
  known = next(iter(ways)) if len(ways) == 1 else ""
  if given and known and given != known:
    raise Refused(f"--better={given}, but of {metric} the {known} is better; leave --better out")
  if not (known or given):
    raise Refused(f"--metric={metric} has no known direction; say which is better with --better=max or --better=min")
  return known or str(given)


def configs_of(chosen: Study) -> dict[str, dict[str, Any]]:
  """A reporting trial's config of every arm, at the first rate of the grid."""
  first = {"lr": chosen.grid[0], "seed": chosen.reporting[0]}
  return {arm: study.point(chosen, "quick", arm, split="test", **first) for arm in chosen.arms}


def rates(lrs: str) -> tuple[float, ...]:
  """The rates of --lrs=, in rising order; a single one is fixed."""
  try:
    given = [types.parse(text.strip(), "float") for text in lrs.split(",")]
  except ValueError as error:
    raise Refused(f"--lrs={lrs} is not a list of numbers ({error}); write for instance --lrs=1e-3,1e-2") from error
  if not all(0 < lr < float("inf") for lr in given):
    raise Refused(f"--lrs={lrs} holds a rate that is not positive and finite")
  if len(set(given)) < len(given):
    raise Refused(f"--lrs={lrs} names a rate twice; name each once")
  return tuple(sorted(given))


def warning(seeds: int) -> str:
  """What to say beforehand of too few seeds; "" for enough."""
  from experiments.protocol import stats

  needed = stats.seeds_needed(LEVEL)
  if seeds >= needed:
    return ""
  return f"{seeds} seeds are too few for the exact sign-flip test, which needs {needed}: intervals are Student's t"


def run(chosen: Study, delta: float, runner: Runner) -> tuple[study.Finished, list[dict[str, Any]]]:
  """Every arm against the first, under the protocol."""
  done = study.run([(chosen, "quick")], runner)[0]
  first, *others = done.arms.values()
  found = []
  for other in others:
    figures = _figures(other, first, chosen, delta)
    found.append({"name": f"{other.name} - {first.name}", "metric": chosen.metric, **figures})
  return done, found


def _figures(ours: study.Arm, theirs: study.Arm, plan: Study, delta: float) -> dict[str, Any]:
  """The difference of two arms, or why there is none."""
  faults = [text for arm in (theirs, ours) if (text := arm.fault(plan.metric) or _lacking(arm, plan.metric))]
  if not faults:
    scale = scales.scale(ours.config, plan.metric)
    return difference(ours.values(plan.metric), theirs.values(plan.metric), delta, plan.better, scale)
  nan = math.nan
  nothing = {"effect": nan, "ci": [nan, nan], "method": "none", "n": 0, "p": nan, "delta": delta}
  return {**nothing, "answer": f"{NO_ANSWER}: {'; '.join(faults)}"}


def _lacking(arm: study.Arm, metric: str) -> str:
  """Says that runs of an arm diverged to where the metric has no number, and nothing stands for it."""
  lost = sum(math.isnan(value) for value in arm.values(metric))
  return f"{lost} of {len(arm.results)} trials of arm {arm.name!r} have no finite {metric}" if lost else ""


def difference(
  ours: Sequence[float], theirs: Sequence[float], delta: float, better: str, scale: scales.Scale | None = None
) -> dict[str, Any]:
  """Mean paired difference with its 95 % interval, two-sided p, and what it says about a difference of delta.

  `scale` bounds the difference of two means, where both lie in a range.
  """
  from experiments.protocol import stats

  differences = [a - b for a, b in zip(ours, theirs, strict=True)]
  found = stats.interval(differences, LEVEL)
  if scale is not None:
    found = stats.within(found, scale.low - scale.high, scale.high - scale.low)
  p = stats.two_sided(differences, found.method)
  effect = sum(differences) / len(differences)
  figures = {"effect": effect, "ci": [found.low, found.high], "method": found.method, "n": len(differences), "p": p}
  said = answer(found.low, found.high, delta, better)
  if found.method == "none":
    said += f": {len(differences)} differences are too few, or too alike, to tell their spread"
  return {**figures, "delta": delta, "answer": said}


def answer(low: float, high: float, delta: float, better: str) -> str:
  """What an interval says about a difference of at least delta."""
  words = ("better", "worse") if better == "max" else ("worse", "better")
  if low > delta:
    return f"{words[0]} by more than {delta:g}"
  if high < -delta:
    return f"{words[1]} by more than {delta:g}"
  if delta > 0 and -delta < low and high < delta:
    return f"equivalent within {delta:g}"
  return "no difference found"
