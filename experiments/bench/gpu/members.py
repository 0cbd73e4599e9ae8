"""A pack of members side by side (`vmap`) against members alone: the same losses within TOLERANCE, and time.

Both are the compiled programs of train/step.py. Products run in full float32, so that a difference is one of rounding:
side by side, sums are taken in another order.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.bench import timing
from experiments.bench.gpu import parts
from experiments.bench.gpu.figures import figure
from model import build
from train import mesh, step

TOLERANCE = 1e-3  # largest relative difference of a member's training losses over the first `eval.every` steps
RATES, SEEDS = (1e-3, 3e-3, 1e-2, 3e-2), 16
TINY_SEEDS = 2
ALONE = 4  # members that are trained alone too
REPEATS = 10

Advance = Callable[[], np.ndarray]


def measure(request: parts.Request) -> Iterator[dict[str, Any]]:
  """The difference first, then the times."""
  jax.config.update("jax_default_matmul_precision", "highest")
  config = parts.config(request, "members")
  seeds = range(TINY_SEEDS if request["tiny"] else SEEDS)
  configs = [{**config, "seed": seed, "optim": {**config["optim"], "lr": lr}} for seed in seeds for lr in RATES]
  chosen = [round(index) for index in np.linspace(0, len(configs) - 1, ALONE)]
  whole, task = _side_by_side(config)
  packed, together = _trained(whole, task, configs)
  singles = [_trained(whole, task, [configs[index]])[0] for index in chosen]
  apart = [_difference(one[0], packed[index]) for one, index in zip(singles, chosen, strict=True)]
  note = f"{len(configs)} members, {config['eval']['every']} steps, full float32; up to {TOLERANCE:g} is rounding"
  name = f"largest relative difference of losses, pack of {len(configs)} against members alone"
  wrong = [one for one in apart if not one <= TOLERANCE]
  problems = [f"{len(wrong)} of {len(apart)} members differ by more than {TOLERANCE:g} from themselves alone"]
  yield {"figures": [figure(name, apart, "1", note)], "problems": problems if wrong else []}
  _, alone = _trained(whole, task, configs[:1])
  yield {"figures": _times(config, len(configs), together, alone)}


def _side_by_side(config):
  """The functions of a cohort whose members run side by side: an accelerator's own way, on a CPU that of a mesh."""
  task = build.make("tasks", dict(config["task"]), package="train")
  return step.Ensemble(config, task, mesh=mesh.make() if jax.default_backend() == "cpu" else None), task


def _trained(whole, task, configs) -> tuple[np.ndarray, Advance]:
  """The losses (E, k) of the first k steps, and a call that trains k steps more and gives theirs."""
  held = {"state": whole.init(configs)}
  member, data = whole.members(configs), jax.tree.map(jax.numpy.asarray, task.data("train"))

  def advance() -> np.ndarray:
    held["state"], losses_Ek, _ = whole.advance(held["state"], member, data)
    return np.asarray(jax.block_until_ready(losses_Ek))

  return advance(), advance


def _difference(one_k: np.ndarray, other_k: np.ndarray) -> float:
  """The largest relative difference; inf where a loss is not finite on one side alone."""
  with np.errstate(invalid="ignore"):
    apart_k = np.abs(one_k - other_k) / np.abs(one_k)
  return float(np.where(np.isfinite(one_k) == np.isfinite(other_k), np.nan_to_num(apart_k), np.inf).max())


def _times(config, members: int, together: Advance, alone: Advance) -> list[dict[str, Any]]:
  """Milliseconds of a step of the pack and of one member alone, taken in turn, and what the pack spares."""
  steps = config["eval"]["every"]
  turns = {"together": timing.Turn(together), "alone": timing.Turn(alone)}
  rounds = list(timing.rounds(turns, REPEATS))
  pack, one = ([1e3 * seconds[name] / steps for seconds in rounds] for name in turns)
  spared = [members * single / whole for whole, single in zip(pack, one, strict=True)]
  note = f"batch {config['train']['batch']}, full float32, {steps} steps per call"
  return [
    figure(f"step of a pack of {members}", pack, "ms", note),
    figure("step of one member alone", one, "ms", note),
    figure(f"{members} members one after the other over the pack", spared, "times", "by repeat, both in turn"),
  ]
