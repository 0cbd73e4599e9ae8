"""What a study may ask for: samples that its trials will have, seeds and rates that say something, arms that differ.

Everything is refused here in one line, before a worker starts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs import slots
from experiments.protocol import scales, study
from experiments.protocol.claim import Claim, Study, Trial
from experiments.protocol.claim import names as names_of
from experiments.record import corpora
from experiments.record.atomic import canonical
from model.errors import Refused

OVERWRITTEN = {  # keys that the protocol sets for every trial, and the field of a study that says what to
  "seed": "tuning= and reporting=",
  "optim.lr": "grid=",
  "eval.split": "nothing: rates are chosen on the validation split, arms are judged on the test split",
  "probes": "probes=",
}
SEEDS = 2**31  # a seed is below: it is an int32 where it is used


def examined(claims: Sequence[Claim], tier: str) -> None:
  """Raises Refused for a test that names no sample of its study, a misspelt measure say; a dry run does so too."""
  for claim in claims:
    if isinstance(claim.experiment, Trial) and (tier_of_claim := claim.tier_for(tier)):
      refuse_unknown(claim.experiment.study, names_of(claim.experiment.test), tier_of_claim)


def ready(claims: Sequence[Claim], tier: str) -> None:
  """Raises Refused, before anything runs, for what `examined` refuses, and for data not installed."""
  examined(claims, tier)
  for asked, at in studies(claims, {claim.id: claim.tier_for(tier) for claim in claims}).values():
    corpora.present(study.point(asked, at, next(iter(asked.arms)), lr=asked.grid[0], seed=0, split="test"))


def studies(claims: Iterable[Claim], at: Mapping[str, str | None]) -> dict[tuple[str, str], tuple[Study, str]]:
  """Each (study, tier) once, whatever the number of claims that read it; `at` has each claim's tier by its id."""
  wanted: dict[tuple[str, str], tuple[Study, str]] = {}
  for claim in claims:
    tier = at.get(claim.id)
    if not tier or not isinstance(claim.experiment, Trial):
      continue
    item = claim.experiment.study
    held = wanted.setdefault((item.name, tier), (item, tier))
    if held[0] != item:
      raise ValueError(f"two different studies are named {item.name!r}")
  return wanted


def refuse_unknown(plan: Study, names: Iterable[str], tier: str | None = None) -> None:
  """Raises Refused for a study that cannot answer: for what it is, then for a sample of `names` that it will not have.

  `names` are the samples of a test ("arm", "arm:measure", "arm:probe.longer.loss_2x"); `tier` None means every tier.
  """
  _refuse_lists(plan)
  _refuse_keys(plan)
  for at in plan.tiers if tier is None else (tier,):
    configs = {arm: study.point(plan, at, arm, lr=plan.grid[0], seed=0, split="test") for arm in plan.arms_at(at)}
    refuse_equal(configs, plan.arms, f"study {plan.name!r}: ")
    for arm, config in configs.items():
      _refuse_measure(config, plan.metric, f"study {plan.name!r}: metric {plan.metric!r}", arm)
      way = scales.scale(config, plan.metric).better
      if way and plan.better != way:
        raise Refused(
          f"study {plan.name!r}: better={plan.better!r}, but of {plan.metric} the {way} is better; correct it"
        )
    for name in names:
      _refuse_sample(plan, at, configs, name)


def _refuse_sample(plan: Study, tier: str, configs: Mapping[str, Mapping[str, Any]], name: str) -> None:
  arm, _, measure = name.partition(":")
  where = f"study {plan.name!r}: sample {name!r}"
  if arm not in configs:
    known = ", ".join(configs)
    raise Refused(f"{where} names no arm: {slots.suggestion(arm, configs)}the arms at tier {tier} are {known}")
  if measure == "window":
    if not plan.window:
      raise Refused(f"{where} is the mean over the study's window, which is empty; give it rates, window=(1e-3, 1e-2)")
  elif measure:
    _refuse_measure(configs[arm], measure, where, arm)


def _refuse_measure(config: Mapping[str, Any], name: str, where: str, arm: str) -> None:
  if scales.has(config, name):
    return
  if name in scales.judged(config):
    raise Refused(f"{where} needs decoding, which is off for arm {arm!r}; set eval.judge to True in the study's tiers")
  raise Refused(f"{where} is no measure of arm {arm!r}: {unknown(config, name)}")


def unknown(config: Mapping[str, Any], name: str) -> str:
  """What to say to a name that no trial of this config has: a suggestion, and all there is."""
  if name.startswith("probe.") and len(parts := name.split(".", 2)) == 3 and parts[1] not in config["probes"]:
    try:
      scales.keys(parts[1])
    except Refused as fault:
      return str(fault)
    return f"its probe does not run; add it, probes=({parts[1]!r},)"
  known = scales.names(config)
  known += [] if config["eval"]["judge"] else scales.judged(config)
  return f"{slots.suggestion(name, known)}there are {', '.join(known)}"


def refuse_equal(configs: Mapping[str, Mapping[str, Any]], written: Mapping[str, object], where: str = "") -> None:
  """Raises Refused where two differently written arms are one run; equally written ones make an A/A test."""
  seen: dict[str, str] = {}
  for arm, config in configs.items():
    other = seen.setdefault(canonical(config), arm)
    if written[other] != written[arm]:
      raise Refused(
        f"{where}{other!r} and {arm!r} are written differently and are the same run; let one of them differ"
      )


def _refuse_keys(plan: Study) -> None:
  """Keys that would be overwritten: the arms would be equal without anybody saying so."""
  for arm in plan.arms:
    if ":" in arm:
      raise Refused(f"study {plan.name!r}: the arm {arm!r} holds a colon, which parts an arm from a measure; rename it")
    if "eval.judge" in plan.arms[arm]:
      raise Refused(
        f"study {plan.name!r}: eval.judge={plan.arms[arm]['eval.judge']} of arm {arm!r} belongs into tiers="
      )
  parts = [(f"arm {arm!r}", settings) for arm, settings in plan.arms.items()]
  for where, settings in [*parts, *((f"tier {tier!r}", settings) for tier, settings in plan.tiers.items())]:
    for key in OVERWRITTEN.keys() & settings.keys():
      raise Refused(
        f"study {plan.name!r}: {key}={settings[key]!r} of {where} would be overwritten; it is set by {OVERWRITTEN[key]}"
      )


def _refuse_lists(plan: Study) -> None:
  """Seeds and rates that say nothing, or the same twice."""
  where = f"study {plan.name!r}: "
  if plan.better not in scales.WAYS:
    raise Refused(f"{where}better={plan.better!r}; allowed: {', '.join(scales.WAYS)}")
  for name, rates in (("grid", plan.grid), ("window", plan.window)):
    if (name == "grid" and not rates) or not all(_positive(lr) for lr in rates) or len(set(rates)) < len(rates):
      raise Refused(f"{where}{name}={_shown(rates)}; allowed: positive finite learning rates, each once")
  tuned = len(plan.grid) > 1  # a single rate is fixed: there is nothing to tune
  for name, seeds in (("tuning", plan.tuning), ("reporting", plan.reporting)):
    if not seeds and (tuned or name == "reporting"):
      raise Refused(f"{where}{name}=() has no seed; give at least one")
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < SEEDS for seed in seeds):
      raise Refused(f"{where}{name}={_shown(seeds)}; allowed: whole numbers from 0 to 2^31 - 1")
    if len(set(seeds)) < len(seeds):
      raise Refused(
        f"{where}{name}={_shown(seeds)} names a seed twice, which would count one run as two; name each once"
      )
  both = sorted(set(plan.tuning) & set(plan.reporting)) if tuned else []
  if both:
    raise Refused(
      f"{where}seeds {_shown(both)} are in tuning and in reporting: a rate may not be judged on the seeds it was chosen"
      " on; keep the lists apart"
    )


def _positive(lr: object) -> bool:
  return isinstance(lr, int | float) and not isinstance(lr, bool) and 0 < lr < math.inf


def _shown(values: Sequence[object]) -> str:
  return f"({', '.join(map(str, values))})"
