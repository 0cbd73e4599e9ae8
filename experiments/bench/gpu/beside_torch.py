"""A training step of ours beside PyTorch's, same device, parameters, batch and optimizer, each at its best settings.

Ours is `Ensemble.advance` of train/step.py with one member; PyTorch's is in torch_gpt.py. Candidates take turns in
every repeat. That both do the same work is seen from their losses over the first steps.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.bench import timing
from experiments.bench.gpu import machine, parts, torch_gpt
from experiments.bench.gpu.figures import figure
from model import build
from train import step

REPEATS = 15
BLOCKS = 4  # the longer way of attention works on a quarter of the keys at a time


class Precision(NamedTuple):
  """compute: dtype of activations. products: jax's name of how float32 is multiplied, and torch's.

  tolerance: the largest relative difference of the losses over the first steps that rounding explains.
  """

  compute: str
  products: tuple[str, str]
  tolerance: float


# Each at what is fastest: on an accelerator float32 is multiplied as TensorFloat-32 by both.
FASTEST = {
  "float32": Precision("float32", ("tensorfloat32", "high"), 2e-2),
  "bfloat16": Precision("bfloat16", ("default", "high"), 5e-2),
}
ON_CPU = {**FASTEST, "float32": Precision("float32", ("highest", "highest"), 1e-3)}

Call = Callable[[], np.ndarray]  # some steps, waited for; their losses


class Fixed:
  """A task whose training batch is given as data: what is timed is the step, not the drawing."""

  def __init__(self, task: Any):
    self.task, self.vocabulary, self.slices = task, task.vocabulary, task.slices

  def drawn(self, size: int) -> Any:
    """One batch of the task."""
    return jax.jit(lambda key: self.task.sample(key, size))(jax.random.key(0))

  def sample(self, key: jax.Array, size: int, data: Any) -> Any:
    """The tokens of `data`, with the positions that the task writes, which the compiler knows."""
    rows = self.task.sample(key, size)  # of this only what does not depend on the key is left in the program
    tokens = rows.inputs._replace(tokens_BTC=data.inputs.tokens_BTC)
    return rows._replace(inputs=tokens, targets_BTR=data.targets_BTR, weights_BTR=data.weights_BTR)


def measure(request: parts.Request) -> Iterator[dict[str, Any]]:
  """float32, then bfloat16; without a PyTorch for this device ours alone, which is told."""
  config = parts.config(request, "step")
  torch_gpt.check(config)
  missing = _missing()
  yield {"details": {"pytorch": missing or "on the same device", "notes": []}}
  notes: list[str] = []
  for name, precision in (ON_CPU if jax.default_backend() == "cpu" else FASTEST).items():
    settings = copy.deepcopy(config)
    settings["train"]["compute"] = precision.compute
    with jax.default_matmul_precision(precision.products[0]):
      yield from _compared(name, precision, settings, with_torch=not missing, notes=notes)


def _missing() -> str:
  """Why PyTorch cannot stand beside us here; empty where it can."""
  if not machine.installed("torch"):
    return "not measured: PyTorch is not installed"
  import torch

  if jax.default_backend() != "cpu" and not torch.cuda.is_available():
    return "not measured: this PyTorch has no CUDA"
  return ""


def _compared(
  name: str, precision: Precision, config: dict[str, Any], *, with_torch: bool, notes: list[str]
) -> Iterator[dict[str, Any]]:
  """Losses of the first steps as soon as there are any, then the times."""
  calls = ours(config)
  if with_torch:
    calls |= theirs(config, precision)
  first: dict[str, np.ndarray] = {}
  turns: dict[str, timing.Turn] = {}
  for who, call in calls.items():
    try:
      first[who] = call()  # compiles
      turns[who] = timing.Turn(call)
    except Exception as error:  # out of memory, or a compiler that lacks something: the others are still measured
      notes.append(f"{name}: {who} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
  yield {"details": {"notes": list(notes)}}
  if not _best(dict.fromkeys(turns, 0.0), "ours"):
    yield {"problems": [f"{name}: none of our candidates could be run"]}
    return
  yield _sameness(name, precision, {who: first[who] for who in turns}, config)
  rounds = list(timing.rounds(turns, REPEATS))
  yield {"figures": _times(name, config, rounds)}


def ours(config: Mapping[str, Any]) -> dict[str, Call]:
  """Our candidates: attention over all keys at once, and by blocks of keys."""
  length = config["task"]["length"]
  candidates = {"all keys at once": 0, f"blocks of {length // BLOCKS} keys": length // BLOCKS}
  made = {}
  for way, block in candidates.items():
    settings = {**config, "model": {**config["model"], "block": block}}
    made[f"ours, {way}"] = _our_call(settings)
  return made


def _our_call(config: Mapping[str, Any]) -> Call:
  task = Fixed(build.make("tasks", dict(config["task"]), package="train"))
  whole = step.Ensemble(config, task)
  held, member, data = {"state": whole.init([config])}, whole.members([config]), task.drawn(config["train"]["batch"])

  def advance() -> np.ndarray:
    held["state"], losses_Ek, _ = whole.advance(held["state"], member, data)
    return np.asarray(jax.block_until_ready(losses_Ek))[0]

  return advance


def theirs(config: Mapping[str, Any], precision: Precision) -> dict[str, Call]:
  """PyTorch's candidates: eager, and on a GPU compiled."""
  import torch

  torch.set_float32_matmul_precision(precision.products[1])
  device = "cpu" if jax.default_backend() == "cpu" else "cuda"
  task = Fixed(build.make("tasks", dict(config["task"]), package="train"))
  batch = task.drawn(config["train"]["batch"])
  tokens_BT, targets_BT = (
    torch.from_numpy(np.array(array[..., 0], np.int64)).to(device)
    for array in (batch.inputs.tokens_BTC, batch.targets_BTR)
  )
  params = drawn(config, task)

  def made(compiled: bool) -> Call:
    model = torch_gpt.build(config, params, device)
    return torch_gpt.Step(config, model, torch.compile(model) if compiled else model, tokens_BT, targets_BT)

  found = {"PyTorch, eager": made(compiled=False)}
  return found | ({"PyTorch, compiled": made(compiled=True)} if device == "cuda" else {})


def drawn(config: Mapping[str, Any], task: Any) -> dict[str, np.ndarray]:
  """The parameters that a member of this configuration starts from, by path."""
  state = step.Ensemble(config, task).init([config])
  leaves = nnx.to_flat_state(state.params)
  return {"/".join(map(str, path)): np.asarray(jnp.asarray(leaf))[0] for path, leaf in leaves}


def _sameness(name: str, precision: Precision, first: Mapping[str, np.ndarray], config) -> dict[str, Any]:
  """How far the losses of the first steps lie apart, each candidate against the first."""
  reference = next(iter(first.values()))
  apart = [float(np.abs(losses / reference - 1).max()) for losses in list(first.values())[1:]]
  steps = config["eval"]["every"]
  note = f"{steps} steps from equal parameters on one batch; up to {precision.tolerance:g} is rounding"
  title = f"{name}: largest relative difference of losses, all candidates against the first"
  wrong = [who for who, one in zip(list(first)[1:], apart, strict=True) if not one <= precision.tolerance]
  problem = f"{name}: the losses of {', '.join(wrong)} differ by more than {precision.tolerance:g}: not the same work"
  fell = [float(losses[0] - losses[-1]) for losses in first.values()]
  figures = [figure(f"{name}: fall of the loss over these steps", fell, "nat", note)]
  figures += [figure(title, apart, "1", note)] if apart else []
  return {"figures": figures, "problems": [problem] if wrong else []}


def _times(name: str, config, rounds: list[dict[str, float]]) -> list[dict[str, Any]]:
  """Milliseconds per step of each candidate, and the ratio of the best of both sides, repeat by repeat."""
  steps, tokens = config["eval"]["every"], config["train"]["batch"] * config["task"]["length"]
  note = f"{tokens} tokens per step, {steps} steps per call"
  found = [figure(f"{name}: step, {who}", [1e3 * one[who] / steps for one in rounds], "ms", note) for who in rounds[0]]
  medians = {one["name"].partition("step, ")[2]: one["median"] for one in found}
  own, other = _best(medians, "ours"), _best(medians, "PyTorch")
  found.append(figure(f"{name}: throughput, {own}", [tokens * steps / one[own] / 1e6 for one in rounds], "M tokens/s"))
  if other:
    ratios = [one[own] / one[other] for one in rounds]
    found.append(figure(f"{name}: time of {own} over {other}", ratios, "times", "by repeat, the best of both sides"))
  return found


def _best(medians: Mapping[str, float], side: str) -> str:
  """The candidate of a side that takes the least time; "" where it has none."""
  return min((who for who in medians if who.startswith(side)), key=medians.__getitem__, default="")
