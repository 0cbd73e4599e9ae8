"""What a row would be stamped with if it were made today: files, config and trials of its claim. Nothing runs; no jax.

A measured row (a bench) tells a ratio of what it names, on one machine and one day. Its files are the bench's own,
those of the mechanisms, cells and recurrent models that it names, with their kernels, and what it imports to be
measured: a change there may change the ratio. What surrounds them (blocks, builder, loop) is on both sides of it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from configs import slots
from experiments.protocol import calls, study
from experiments.protocol.claim import Bench, Check, Claim, Trial, names
from experiments.record import corpora, digest, stamp
from experiments.run.cohorts import hash_of, trial_key

TIMED = ("attention", "cell")  # families whose kinds a bench sets side by side
WITHIN_TIMED = ("model.attention", "model.cell", "model.kernels")
AROUND = ("build", "initial", "mask", "errors", "language", "vocabulary")  # modules of model/ that no bench is about
BLOCKWISE = ("dot", "additive", "cosine")  # kinds that benches measure by blocks of keys too
WITHIN_RECURRENT = ("model.recurrent",)


class Now(NamedTuple):
  """What today's code and claims say of a row."""

  files: tuple[str, ...]
  config_sha256: str
  trials: tuple[str, ...]


def now(claim: Claim, row: Mapping[str, Any]) -> Now:
  """For the row's tier, its rates and its seeds. Raises KeyError where the claim has lost the tier or an arm."""
  tier = row["tier"]
  if tier not in claim.tiers:
    raise KeyError(f"tier {tier}")
  return Now(files(claim, tier), config_sha256(claim, tier), trials(claim, row))


def files(claim: Claim, tier: str) -> tuple[str, ...]:
  """The files that the row's code digest is taken over, sorted."""
  match claim.experiment:
    case Trial():
      points = (point(claim, tier, arm) for arm in used(claim, tier))
      return tuple(sorted({path for config in points for path in stamp.files(config)}))
    case Bench():
      return timed(claim.experiment)
    case Check():
      return tuple(sorted(calls.files(claim.experiment)))
    case _:
      return ()


def timed(bench: Bench) -> tuple[str, ...]:
  """The bench's own files, and those of what is measured: named in them, or imported by them."""
  own, words = _own(bench)
  kinds = [f"{slots.FOLDERS[family]}/{kind}.py" for family, kind in _kinds(words)]
  recurrent = [kind for kind in slots.kinds("models") if kind in words and slots.model(kind, "built_of") == "cells"]
  models = digest.closure([f"{slots.FOLDERS['models']}/{kind}.py" for kind in recurrent], within=WITHIN_RECURRENT)
  around = {f"model.{name}" for name in AROUND}
  imported = {name for path in own for name in digest.read(digest.root(), path).imports if name.startswith("model.")}
  parts = {f"{name.replace('.', '/')}.py" for name in imported - around}
  parts = {path for path in parts if (digest.root() / path).is_file()}
  return tuple(sorted({*own, *models, *parts, *digest.closure(kinds, within=WITHIN_TIMED)}))


def standards(bench: Bench) -> dict[str, dict[str, Any]]:
  """Small models of the mechanisms and cells that a bench names, as settings of the card `recall`.

  Whoever changes a mechanism's file shows by their programs that what the bench measures is what it was: with scores
  all at once and by blocks of keys, causal and not.
  """
  kinds = _kinds(_own(bench)[1])
  found: dict[str, dict[str, Any]] = {}
  for family, kind in kinds:
    if family == "cell":
      found[f"cell {kind}"] = {"model.kind": "rnn", "model.cell.kind": kind}
      continue
    chosen = {"model.attention.kind": kind, "model.heads": 4, "model.width": 64}
    found[kind] = chosen
    found[f"{kind}, causal"] = {**chosen, "model.kind": "gpt"}
    if kind in BLOCKWISE:
      found[f"{kind}, by blocks"] = {**chosen, "model.block": 4}
  return found


def _own(bench: Bench) -> tuple[list[str], set[str]]:
  """The files of a bench under experiments/bench, and the texts that stand in them."""
  module = bench.run.rsplit(".", 1)[0].replace(".", "/")
  own = digest.closure([f"experiments/bench/{module}.py"], within=("experiments.bench",))
  return own, set().union(*(digest.words(path) for path in own))


def _kinds(words: set[str]) -> list[tuple[str, str]]:
  """Family and kind of the mechanisms and cells among these words."""
  return [(family, kind) for family in TIMED for kind in slots.kinds(family) if kind in words]


def config_sha256(claim: Claim, tier: str) -> str:
  """The hash of what was fixed before the reporting seeds."""
  return hash_of(declared(claim, tier))


def declared(claim: Claim, tier: str) -> dict[str, Any]:
  """What was fixed before the reporting seeds: the experiment, its rule and minimum effect, at this tier."""
  experiment = claim.experiment
  if not isinstance(experiment, Trial):
    return {"experiment": repr(experiment)}
  plan = experiment.study
  shared = {"card": plan.card, "metric": plan.metric, "better": plan.better, "grid": list(plan.grid)}
  seeds = {"tuning": list(plan.tuning), "reporting": list(plan.reporting)}
  points = {arm: study.point(plan, tier, arm, lr=plan.grid[0], seed=0, split="test") for arm in plan.arms_at(tier)}
  return {"test": repr(experiment.test), "points": points, **shared, **seeds}


def trials(claim: Claim, row: Mapping[str, Any]) -> tuple[str, ...]:
  """Keys of the row's reporting trials, sorted; () for what is no trial."""
  if not isinstance(claim.experiment, Trial):
    return ()
  rates = chosen(row)
  configs = [point(claim, row["tier"], arm, rates[arm], seed) for arm in rates for seed in row["seeds"]["reporting"]]
  return tuple(sorted(trial_key(config, corpora.hashes(config)) for config in configs))


def chosen(row: Mapping[str, Any]) -> dict[str, float]:
  """The learning rate of every arm that the row used."""
  return {entry["name"].partition(":")[0]: entry["lr"] for entry in row["arms"]}


def point(claim: Claim, tier: str, arm: str, lr: float = 0.0, seed: int = 0) -> dict[str, Any]:
  """The config of one reporting trial of an arm."""
  assert isinstance(claim.experiment, Trial)
  plan = claim.experiment.study
  return study.point(plan, tier, arm, lr=lr or plan.grid[0], seed=seed, split="test")


def used(claim: Claim, tier: str) -> list[str]:
  """The arms that the claim's test reads, in the study's order."""
  assert isinstance(claim.experiment, Trial)
  wanted = {name.partition(":")[0] for name in names(claim.experiment.test)}
  return [arm for arm in claim.experiment.study.arms_at(tier) if arm in wanted]
