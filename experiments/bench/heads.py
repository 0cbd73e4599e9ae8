"""What heads cost and what they save: arithmetic, memory and time of a layer, and time until a task is learned.

Arms take turns within every repeat, so that a disturbance of the machine hits all of them; the time of a repeat is the
least of its calls. A repeat of the training bench is one seed.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import override
from model import build, initial, mask
from model.heads import Heads
from train.metrics import TARGET
from train.step import Ensemble
from train.step import Ensemble as ensemble  # noqa: N813 (a bench must read as it did)

SEEDS = tuple(range(200, 212))  # apart from the seeds of every study

Samples = dict[str, list[float]]


class Size(NamedTuple):
  """One layer of attention: tokens per row, model width, heads and their width (0 = width / heads)."""

  length: int
  width: int
  heads: int
  head_dim: int = 0


# A layer as wide as in the base model of Vaswani et al. 2017, with 8 heads and with 32.
FEW = Size(128, 512, 8)
MANY = {"fixed width": Size(128, 512, 32), "fixed head width": Size(128, 512, 32, 64)}
BATCH, CALLS = 2, 5

# Rates with the fewest steps to target on tuning seeds 0-2, of 5e-3, 1e-2, 2e-2, 4e-2; one relation, which all learn.
RECALL = {"task.relations": 1, "train.steps": 300, "eval.every": 5}
TRAINED = {
  "8 heads": {"model.heads": 8, "optim.lr": 2e-2},
  "fixed width": {"model.heads": 32, "optim.lr": 1e-2},
  "fixed head width": {"model.heads": 32, "model.head_dim": 8, "optim.lr": 2e-2},
}
# Equal parameters up to the norms (2 %): four heads of 16 features and 128 hidden units, in one layer or in four.
PLACED = {
  "side by side": {"model.heads": 4, "optim.lr": 1e-2},
  "one after the other": {
    "model.heads": 1,
    "model.head_dim": 16,
    "model.depth": 4,
    "model.feedforward.hidden": 32,
    "optim.lr": 5e-3,
  },
}


def cost() -> Samples:
  """HEAD-4a, HEAD-4b: 32 heads over 8, as ratios per repeat, at fixed width and at fixed head width.

  flops, parameters, memory (temporary bytes): of one layer of width 512 with 128 tokens, forward and backward, by the
  compiler's count, the same in every repeat. time per step: seconds of that program. time to target: seconds of
  training a model of width 64 until 90 % of recall with one relation is right, in two evaluations in a row.
  """
  samples: Samples = {}
  few, many = Layer(FEW), {name: Layer(size) for name, size in MANY.items()}
  for name, layer in many.items():
    for fact in ("flops", "memory", "parameters"):
      samples[f"{name}: {fact}"] = [getattr(layer, fact) / getattr(few, fact)] * len(SEEDS)
  calls = {"few": few.call} | {name: layer.call for name, layer in many.items()}
  for _ in SEEDS:
    least = least_times(calls)
    for name in many:
      samples.setdefault(f"{name}: time per step", []).append(least[name] / least["few"])
  runs = race(RECALL, TRAINED, SEEDS)
  for name in many:
    ratios = [slow.seconds / fast.seconds for slow, fast in zip(runs[name], runs["8 heads"], strict=True)]
    samples[f"{name}: time to target"] = ratios
  return samples


def placement() -> Samples:
  """HEAD-17: four heads in one layer against four layers of one head, until recall with four relations is learned.

  Ratios (one after the other / side by side) per seed; a run that does not arrive counts with its whole budget.
  """
  runs = race({"train.steps": 300, "eval.every": 20}, PLACED, SEEDS)
  samples: Samples = {}
  for beside, after in zip(runs["side by side"], runs["one after the other"], strict=True):
    for name in ("seconds", "steps", "seconds_per_step"):
      ratio = getattr(after, name) / getattr(beside, name)
      samples.setdefault(f"{name.replace('_', ' ')}, one after the other over side by side", []).append(ratio)
  for name, results in runs.items():
    samples[f"{name}: seconds to target"] = [run.seconds for run in results]
    samples[f"{name}: share that arrived"] = [float(run.arrived) for run in results]
  return samples


class Layer:
  """A compiled gradient of one attention layer: what it costs by the compiler's count, and a call that waits."""

  def __init__(self, size: Size):
    given = {"heads": size.heads, "head_dim": size.head_dim, "mechanism": {"kind": "dot"}}
    layer = initial.realize(lambda: Heads(size.width, **given))
    graph, params, rest = nnx.split(layer, nnx.Param, ...)
    positions = mask.rows(size.length)
    x_BTM = jax.random.normal(jax.random.key(0), (BATCH, size.length, size.width))

    def loss(params, x_BTM):
      y_BTM, _ = nnx.merge(graph, params, rest)(x_BTM, x_BTM, mask.Mask(positions, positions, mask.everything()))
      return jnp.square(y_BTM).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(params, x_BTM).compile()
    count, memory = compiled.cost_analysis(), compiled.memory_analysis()
    assert count is not None
    assert memory is not None
    self.flops, self.memory = float(count["flops"]), float(memory.temp_size_in_bytes)
    self.parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    self.call = lambda: jax.block_until_ready(compiled(params, x_BTM)) and None


def least_times(calls: Mapping[Any, Callable[[], None]]) -> dict[Any, float]:
  """Seconds of the fastest of CALLS calls of each, taken in turn."""
  least = dict.fromkeys(calls, float("inf"))
  for _, (name, call) in itertools.product(range(CALLS), calls.items()):
    started = time.perf_counter()
    call()
    least[name] = min(least[name], time.perf_counter() - started)
  return least


class Run(NamedTuple):
  """One seed of one arm: steps until the target (or the whole budget) and seconds of a step."""

  steps: int
  seconds_per_step: float
  arrived: bool

  @property
  def seconds(self) -> float:
    return self.steps * self.seconds_per_step


def race(shared: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]], seeds) -> dict[str, list[Run]]:
  """Trains every arm with every seed until the target, arms taking turns; evaluation is not timed."""
  configs = {name: override.resolve(override.load("heads", {**shared, **arm})) for name, arm in arms.items()}
  wholes = {name: _ensemble(config) for name, config in configs.items()}
  for name, whole in wholes.items():
    _Racer(whole, configs[name], seed=0).advance()  # compiles
  runs: dict[str, list[Run]] = {name: [] for name in arms}
  for seed in seeds:
    racers = {name: _Racer(whole, configs[name], seed) for name, whole in wholes.items()}
    while any(not racer.done for racer in racers.values()):
      for racer in racers.values():
        racer.advance()
    for name, racer in racers.items():
      runs[name].append(racer.result())
  return runs


def _ensemble(config) -> Ensemble:
  return ensemble(config, build.make("tasks", dict(config["task"]), package="train"))


class _Racer:
  """One run in progress."""

  def __init__(self, whole: Ensemble, config: Mapping[str, Any], seed: int):
    self.config = {**config, "seed": seed}
    self.whole = whole
    self.state, self.member = whole.init([self.config]), whole.members([self.config])
    self.every, self.budget = config["eval"]["every"], config["train"]["steps"]
    self.times: list[float] = []
    self.accuracy: list[float] = []

  @property
  def arrived(self) -> bool:
    return len(self.accuracy) > 1 and min(self.accuracy[-2:]) >= TARGET

  @property
  def done(self) -> bool:
    return self.arrived or len(self.times) * self.every >= self.budget

  def advance(self) -> None:
    """`every` more steps, timed, then an evaluation; nothing once the run is over."""
    if self.done:
      return
    started = time.perf_counter()
    self.state, *_ = jax.block_until_ready(self.whole.advance(self.state, self.member, ()))
    self.times.append(time.perf_counter() - started)
    sums = jax.device_get(self.whole.evaluate(self.state, self.member, ()))
    self.accuracy.append(float(sums.right[0] / sums.weight[0]))

  def result(self) -> Run:
    """Steps to the first of the two evaluations at the target, times the least time of a step seen."""
    chunks = len(self.times) - 1 if self.arrived else len(self.times)
    return Run(chunks * self.every, float(np.min(self.times)) / self.every, self.arrived)
