"""How long a run will take: process starts, compiles, steps and evaluations, spread over the workers. Nothing runs.

The constants are seconds of one core, measured with jax 0.10 on the cards' small models; how much slower this machine
is just now is read off one process start. What a card's models cost in FLOPs comes from the models themselves.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.run.cohorts import hash_of
from train import compute

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

Config = Mapping[str, Any]


class Parts(NamedTuple):
  """Seconds of one core: what workers share, compiles in all, the longest of them, and what runs alone."""

  shared: float = 0.0
  compiles: float = 0.0
  longest: float = 0.0
  alone: float = 0.0


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


def seconds(parts: Parts, tasks: int, jobs: int, slower: float = 1.0) -> float:
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


# ---------------------------------------------------------------------------------------------------------------------
# Which programs the cache of compiled programs holds


def remember(cohort: str, code: str) -> None:
  """Notes that this cohort's programs, of this code, were compiled into the cache that is in use."""
  folder = _seen()
  if folder.parent.is_dir() and os.access(folder.parent, os.W_OK):
    folder.mkdir(exist_ok=True)
    (folder / _name(cohort, code)).touch()


def kept(cohort: str, code: str) -> bool:
  """Whether they were, and the cache is still there."""
  return (_seen() / _name(cohort, code)).is_file()


def _seen() -> Path:
  return compute.cache_folder() / "seen"


def _name(cohort: str, code: str) -> str:
  return hash_of([cohort, code])[:24]


def stored(root: Path, keys: Iterable[str]) -> int:
  """How many of these trials have a result in a workdir."""
  return sum((root / "trials" / key / "result.json").is_file() for key in keys)


def added(parts: Iterable[Parts]) -> Parts:
  """All of them together."""
  total = Parts()
  for part in parts:
    longest = max(total.longest, part.longest)
    total = Parts(total.shared + part.shared, total.compiles + part.compiles, longest, total.alone + part.alone)
  return total
