"""What a run of claims or a sweep would do and how long it would take: nothing runs.

A study's trials take what they took when the ledger's row was made; where no row tells, what its models cost in FLOPs.
To these come process starts, compiles and evaluations, spread over the workers. The constants are seconds of one core,
measured with jax 0.10 on the cards' small models; how much slower this machine is just now is read off one process
start.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.ledger import ledger
from experiments.protocol import study
from experiments.protocol.claim import Bench, Check, Claim, Study, Trial
from experiments.protocol.measures import studies
from experiments.record import corpora, stamp
from experiments.run.cohorts import cohort_key, kept, trial_key
from experiments.run.store import Store

START = 2.8  # seconds of a worker until it can work: interpreter, jax, flax
COMPILE, PER_LAYER = 4.5, 1.5  # of a cohort's programs: at least, and more for each layer
KEPT = 0.35  # share of it where the compiled programs lie in the cache: they are traced and loaded
STEP, STEP_PER_LAYER = 0.3e-3, 0.21e-3  # of a step, whatever its size
FLOPS = 35e9  # FLOPs a second of one core
TRIAL = 0.05  # of a trial beside its steps: files, first weights, its summary
FORWARD = 1 / 3  # share of a step's FLOPs that is its forward pass
CHECK, BENCH = 2.5, 45.0  # of one function on average; benches run alone
BASIS = (
  "one core's seconds for starts, compiles and FLOPs on the cards' models, times how much slower one process start was"
  " just now; programs in the cache count as loaded, others as compiled"
)
PACES = "what trials of a study took when the ledger's row was made, else the FLOPs of its models"

Item = dict[str, Any]
Paces = Mapping[tuple[str, str], float]
Config = Mapping[str, Any]


class Parts(NamedTuple):
  """Seconds of one core: what workers share, compiles in all, the longest of them, and what runs alone."""

  shared: float = 0.0
  compiles: float = 0.0
  longest: float = 0.0
  alone: float = 0.0


# ---------------------------------------------------------------------------------------------------------------------
# Claims


def items(claims: Sequence[Claim], tier: str, held: "Held") -> list[Item]:
  """Checks, benches and studies with what the workdir lacks of them, in seconds of one core; first looks only.

  A study that grows (a rate on its grid's edge, a row that needs a second look) takes longer.
  """
  at = {claim.id: own for claim in claims if (own := claim.tier_for(tier))}
  ready = [claim for claim in claims if claim.id in at]
  called = {c.experiment.run: (c.experiment, at[c.id]) for c in ready if isinstance(c.experiment, Check | Bench)}
  found = [_call(evidence, own, held.store.root) for evidence, own in called.values()]
  paces, compiled = _paces(ready, at), set()
  return found + [_study(*wanted, held, paces.get(key), compiled) for key, wanted in studies(ready, at).items()]


def seconds(found: Sequence[Item], jobs: int, slower: float) -> float:
  """Seconds until all of them are done."""
  parts = added(
    Parts(item["seconds"], item["compile_seconds"], item["longest_compile"], item["alone_seconds"]) for item in found
  )
  return lasting(parts, sum(item["missing"] for item in found), jobs, slower)


def _item(name: str, tier: str, **more: float) -> Item:
  nothing = {"trials": 0, "steps": 0, "missing": 0, "cohorts": 0, "seconds": 0.0, "compile_seconds": 0.0}
  return {"name": name, "tier": tier, **nothing, "longest_compile": 0.0, "alone_seconds": 0.0, **more}


def _call(evidence: Check | Bench, tier: str, root: Path) -> Item:
  from experiments.protocol import calls  # a row may need none

  missing = not (root / "calls" / f"{calls.key(evidence)}.json").is_file()
  takes = CHECK if isinstance(evidence, Check) else BENCH
  where = "seconds" if isinstance(evidence, Check) else "alone_seconds"
  return _item(evidence.run, tier, missing=int(missing), **{where: takes * missing})


def _study(plan: Study, tier: str, held: "Held", pace: float | None, compiled: set[str]) -> Item:
  """One study. `pace`: seconds of one of its trials as measured, None where nobody knows; `compiled` grows."""
  arms = {arm: study.point(plan, tier, arm, lr=plan.grid[0], seed=0, split="test") for arm in plan.arms_at(tier)}
  missing = {arm: study.runs_per_arm(plan) - _stored(plan, tier, arm, held) for arm in arms}
  waiting = {arm: config for arm, config in arms.items() if missing[arm] > 0}
  fresh = {cohort_key(config): config for config in waiting.values()}
  compiles = [compile_seconds(config) for key, config in fresh.items() if key not in compiled]
  compiled |= fresh.keys()
  costs = {} if pace is not None else cohort_costs(waiting.values())
  trained = sum(
    missing[arm] * (training(config, costs[cohort_key(config)]["flops"]) if pace is None else pace)
    for arm, config in waiting.items()
  )
  runs = study.runs_per_arm(plan)
  return _item(
    plan.name,
    tier,
    trials=runs * len(arms),
    steps=runs * study.steps_per_seed(plan, tier),
    missing=sum(missing[arm] for arm in waiting),
    cohorts=len(fresh),
    seconds=round(trained, 2),
    compile_seconds=round(sum(compiles), 2),
    longest_compile=round(max(compiles, default=0.0), 2),
  )


def _stored(plan: Study, tier: str, arm: str, held: "Held") -> int:
  """Trials of an arm that the workdir holds: those of tuning, and of reporting at whichever rate was chosen."""
  if held.nothing:
    return 0

  def there(lr: float, seed: int, split: str, probed: bool = True) -> bool:
    return study.point(plan, tier, arm, lr=lr, seed=seed, split=split, probed=probed) in held

  tuning = () if study.fixed(plan) else plan.tuning
  tuned = sum(there(lr, seed, "validation") for lr in plan.grid for seed in tuning)
  reported = sum(any(there(lr, seed, "test") for lr in plan.grid) for seed in plan.reporting)
  return tuned + reported + sum(there(lr, seed, "test", probed=False) for lr in plan.window for seed in plan.reporting)


def _paces(claims: Sequence[Claim], at: Mapping[str, str]) -> Paces:
  """Seconds of one trial of each study at its tier, as the ledger's rows tell."""
  rows = {(row["id"], row["tier"]): row for row in ledger.read(ledger.committed()) if row["trials"]}
  found: dict[tuple[str, str], list[float]] = {}
  for claim in claims:
    row = rows.get((claim.id, at[claim.id]))
    if row and isinstance(claim.experiment, Trial) and "train_seconds" in row["run"]:
      key = (claim.experiment.study.name, at[claim.id])
      found.setdefault(key, []).append(row["run"]["train_seconds"] / len(row["trials"]))
  return {key: sum(values) / len(values) for key, values in found.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps


def points(named: Mapping[str, dict[str, Any]], seeds: Sequence[int], held: "Held") -> list[Item]:
  """What each point of a sweep is: cohort, parameters, FLOPs per step, missing trials, and seconds of one core.

  The first point of a cohort bears its compile. Builds models, compiles nothing.
  """
  costs = cohort_costs(named.values())
  items, compiled = [], set()
  for name, config in named.items():
    one = cohort_key(config)
    trials = (config | {"seed": seed} for seed in seeds)
    missing = len(seeds) - sum(trial in held for trial in trials)
    compiles = compile_seconds(config) if missing and one not in compiled else 0.0
    compiled |= {one} if missing else set()
    trained = missing * training(config, costs[one]["flops"])
    size = {"point": name, "cohort": one, "seeds": len(seeds), "missing": missing, "steps": config["train"]["steps"]}
    items.append(size | costs[one] | {"compile_seconds": round(compiles, 2), "train_seconds": round(trained, 3)})
  return items


def points_seconds(items: Sequence[Mapping[str, Any]], jobs: int, slower: float) -> float:
  """Seconds that a sweep of these items will take."""
  compiles = [item["compile_seconds"] for item in items]
  parts = Parts(sum(item["train_seconds"] for item in items), sum(compiles), max(compiles, default=0.0))
  return lasting(parts, sum(item["missing"] for item in items), jobs, slower)


# ---------------------------------------------------------------------------------------------------------------------
# What configs cost


def compile_seconds(config: Mapping[str, Any]) -> float:
  """Seconds of one core until the programs of a config's cohort can run, as the cache holds them or not."""
  return compiling(config, kept(cohort_key(config), stamp.code(config)["code_sha256"]))


def cohort_costs(configs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
  """Parameters and FLOPs of a training step, by cohort: points of one cohort share a program."""
  from experiments.worker.pack import prepare
  from train.step import cost

  found: dict[str, dict[str, float]] = {}
  for config in configs:
    key = cohort_key(config)
    if key not in found:
      cohort = prepare(config)
      found[key] = cost(cohort.whole, config, cohort.train_data)
  return found


# ---------------------------------------------------------------------------------------------------------------------
# How long it lasts


def layers(config: Config) -> int:
  """Layers that a compiler meets: of a pair of stacks an encoder's, a decoder's and those between them."""
  return config["model"]["depth"] * (3 if "seq2seq" in config["model"]["kind"] else 1)


def compiling(config: Config, kept: bool = False) -> float:
  """Seconds until a cohort's programs can run."""
  return (COMPILE + PER_LAYER * layers(config)) * (KEPT if kept else 1.0)


def training(config: Config, flops: float) -> float:
  """Seconds of one trial whose step costs so many FLOPs, evaluations included."""
  steps, every = config["train"]["steps"], config["eval"]["every"]
  examples = config["eval"]["batches"] * config["eval"]["batch"]
  evaluated = FORWARD * (1 + steps / every) * examples / config["train"]["batch"]
  step = STEP + STEP_PER_LAYER * layers(config) + flops / FLOPS
  return TRIAL + (steps + evaluated) * step


def lasting(parts: Parts, tasks: int, jobs: int, slower: float = 1.0) -> float:
  """Seconds until `jobs` workers have done all, with `tasks` packs and calls between them; 0 where there is nothing.

  A cohort's programs are compiled by every worker that helps with it, so that workers share compiles only where there
  are as many cohorts as workers.
  """
  if not tasks:
    return 0.0
  workers = max(1, min(jobs, tasks))
  compiled = max(parts.compiles / workers, parts.longest)
  return slower * (START + parts.shared / workers + compiled + parts.alone)


def slowness() -> float:
  """How many times longer a start takes on this machine now than where the constants were measured; at least 0.3."""
  command = [sys.executable, "-c", "import experiments.worker.serve"]
  started = time.monotonic()
  subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True, env=dict(os.environ))
  return max(0.3, (time.monotonic() - started) / START)


class Held:
  """The results of a workdir that a run would take as they are: whole, and of today's code and data.

  keep_stale: those that other code or data made, too.
  """

  def __init__(self, root: Path, keep_stale: bool = False):
    self.store, self.keep_stale = Store(root), keep_stale
    self.nothing = not (root / "trials").is_dir()
    stamp.forget()  # a plan made before in this process saw the code of then

  def __contains__(self, config: Config) -> bool:
    result = self.store.result(trial_key(config, corpora.hashes(config)))
    return result is not None and (self.keep_stale or not stamp.changed(config, result))


def added(parts: Iterable[Parts]) -> Parts:
  """All of them together."""
  total = Parts()
  for part in parts:
    longest = max(total.longest, part.longest)
    total = Parts(total.shared + part.shared, total.compiles + part.compiles, longest, total.alone + part.alone)
  return total
