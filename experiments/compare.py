"""Two or more arms on one card: every arm tuned with equal budget, fresh paired seeds, effect, interval and cost."""

from collections.abc import Sequence
from typing import Any

from configs import override
from configs import sweep as axes
from configs import values as types
from experiments import study
from experiments.claim import Study
from experiments.runner import Runner
from experiments.sweep import label
from model.errors import Refused

SHORT = {
  "attention": "model.attention.kind",
  "position": "model.position.kind",
  "feedforward": "model.feedforward.kind",
}
SMALLER = ("loss", "auc_loss", "best_loss", "t90", "t90_restricted", "wer", "per", "train_loss")
FRESH = 200  # first seed of a comparison: neither tuning nor reporting seed of a claim


def arms(card: str, overrides: Sequence[str], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
  """Name -> overrides of each arm; "attention=dot,model.heads=8" is one arm. Two equal arms make an A/A test."""
  if len(texts) < 2:
    raise Refused(
      f"compare needs two arms, received {len(texts)} ({' '.join(texts)}); add another, such as attention=additive"
    )
  shared, configs = dict(text.split("=", 1) for text in overrides), []
  named: dict[str, dict[str, Any]] = {}
  for text in texts:
    point: dict[str, object] = {}
    for part in axes.split(text, f"arm {text!r}"):
      key, equals, value = part.partition("=")
      if not equals or not key or not value:
        raise Refused(f"arm {text!r} is not KEY=VALUE or KEY=VALUE,KEY=VALUE; write for instance attention=dot")
      point[SHORT.get(key, key)] = value
    settings = shared | point
    configs.append(override.load(card, point, shared=shared))  # refuses here, before anything runs
    name = label(point)
    named[name if name not in named else f"{name} ({len(named) + 1})"] = settings
  override.refuse_idle_shared(card, shared, configs)
  return named


def plan(card: str, named: dict[str, dict[str, Any]], metric: str, seeds: int, lrs: str) -> Study:
  """The comparison as a study."""
  try:
    grid = tuple(sorted({types.parse(text.strip(), "float") for text in lrs.split(",")}))
  except ValueError as error:
    raise Refused(f"--lrs={lrs} is not a list of numbers ({error}); write for instance --lrs=1e-3,1e-2") from error
  if not all(0 < lr < float("inf") for lr in grid):
    raise Refused(f"--lrs={lrs} holds a rate that is not positive and finite")
  better = "min" if metric in SMALLER else "max"
  fresh = tuple(range(FRESH, FRESH + seeds))
  return Study(f"compare on {card}", card, named, metric, {"quick": {}}, grid, better, reporting=fresh, x="arm")


def run(chosen: Study, delta: float, runner: Runner) -> tuple[study.Finished, list[dict[str, Any]]]:
  """Every arm against the first, under the protocol."""
  done = study.run([(chosen, "quick")], runner)[0]
  values = {name: arm.values(chosen.metric, chosen.better) for name, arm in done.arms.items()}
  first, *others = values
  found = [
    {"name": f"{other} - {first}", "metric": chosen.metric}
    | difference(values[other], values[first], delta, chosen.better)
    for other in others
  ]
  return done, found


def difference(ours: Sequence[float], theirs: Sequence[float], delta: float, better: str) -> dict[str, Any]:
  """Mean paired difference with its 95 % interval, two-sided p, and what it says about a difference of delta."""
  from experiments import stats

  differences = [a - b for a, b in zip(ours, theirs, strict=True)]
  low, high, method = stats.interval(differences, 0.025)
  p = min(1.0, 2 * min(stats.sign_flip(differences), stats.sign_flip([-d for d in differences])))
  effect = sum(differences) / len(differences)
  figures = {"effect": effect, "ci": [low, high], "method": method, "n": len(differences), "p": p, "delta": delta}
  return figures | {"answer": answer(low, high, delta, better)}


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
