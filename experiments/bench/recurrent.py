"""Time of one layer of cells against PyTorch's, forward and backward, in float32 on one core of the CPU.

Both have the same sizes and read whole rows; ours still masks padding and segments. The time of a repeat is the least
of its calls, both called in turn so that a disturbance hits them alike. Run it pinned to one core.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.bench import timing
from experiments.checks.grid import Samples
from model import build, initial, see
from model.errors import Refused

REPEATS, CALLS = 10, 5
BATCH, LENGTH, WIDTH = 32, 64, 128  # and a state as wide as the input
PEERS = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN"}


def speed() -> Samples:
  """log2 of the time of our cell over that of PyTorch's, per repeat and cell."""
  samples, draw = Samples(), np.random.default_rng(0)
  x_BTM, target_BTH = (draw.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32) for _ in range(2))
  for kind in PEERS:
    calls = {"ours": ours(kind, x_BTM, target_BTH), "theirs": theirs(kind, x_BTM, target_BTH)}
    for call in calls.values():
      call()  # compiles
    for _ in range(REPEATS):
      least = dict.fromkeys(calls, float("inf"))
      for _ in range(CALLS):
        for name, call in calls.items():
          least[name] = min(least[name], timing.timed(call)[1])
      samples.add(**{kind: np.log2(least["ours"] / least["theirs"])})
  return samples


def ours(kind: str, x_BTM: np.ndarray, target_BTH: np.ndarray) -> Callable[[], None]:
  """A call that computes outputs and all gradients, and waits for them."""
  cell = initial.realize(partial(build.make, "cell", {"kind": kind}, width=WIDTH, hidden=WIDTH))
  graphdef, params, rest = nnx.split(cell, nnx.Param, ...)

  def energy(params, x_BTM):
    cell: Any = nnx.merge(graphdef, params, rest)
    return (cell.run(x_BTM, see.rows(LENGTH))[0] * target_BTH).sum()

  gradients, x = jax.jit(jax.value_and_grad(energy, argnums=(0, 1))), jnp.asarray(x_BTM)

  def call() -> None:
    jax.block_until_ready(gradients(params, x))

  return call


def theirs(kind: str, x_BTM: np.ndarray, target_BTH: np.ndarray) -> Callable[[], None]:
  """The same by PyTorch, on one thread."""
  try:
    import torch
  except ImportError:
    raise Refused("this bench compares with PyTorch, which is not installed; pip install torch") from None
  torch.set_num_threads(1)
  layer = getattr(torch.nn, PEERS[kind])(WIDTH, WIDTH, batch_first=True)
  x, target = torch.tensor(x_BTM, requires_grad=True), torch.tensor(target_BTH)

  def call() -> None:
    layer.zero_grad()
    x.grad = None
    (layer(x)[0] * target).sum().backward()

  return call
