"""Time of one layer of cells against PyTorch's, forward and backward, in float32 on one core of the CPU.

Both have the same sizes and read whole rows; ours still masks padding and segments. Calls take turns, so that a
disturbance hits both alike; the unit of an interval is a process. On Linux with a C compiler PyTorch runs with MKL's
fast paths open, which some versions of MKL keep for Intel's CPUs.
"""

import contextlib
import importlib.util
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import timing
from experiments.protocol import stats
from experiments.run.progress import Progress
from model.errors import Refused

REPEATS = 10
BATCH, LENGTH, WIDTH = 32, 64, 128  # and a state as wide as the input
PEERS = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN"}
OPEN = "int mkl_serv_intel_cpu_true(void) { return 1; }"  # what MKL asks before it takes its fast paths

Pair = dict[str, float]  # seconds of our call and, where it is installed, of PyTorch's: {"ours": .02, "pytorch": .02}


def measure(progress: Progress, *, processes: int = 5) -> Iterator[dict[str, Any]]:
  """What is known so far, each time another process has measured all cells; without PyTorch our own times alone."""
  if processes < 1:
    raise Refused(f"--processes={processes} measure nothing; give at least 1")
  return _measure(progress, processes)


def _measure(progress: Progress, processes: int) -> Iterator[dict[str, Any]]:
  progress.plan(processes)
  found: dict[str, list[Pair]] = {kind: [] for kind in PEERS}
  device: dict[str, Any] = {}
  with _opened() as environment:
    mkl = "MKL's fast paths " + (
      "open" if environment else "as it chooses them (to open them takes Linux and a C compiler)"
    )
    peer = mkl if importlib.util.find_spec("torch") else "PyTorch is not installed: ours alone"
    for number in range(processes):
      progress.note(f"process {number + 1} of {processes}")
      for event in timing.fresh(f"{__name__}.one", {}, timing.KEEP | environment):
        if event["event"] == "hello":
          device = device or event["device"]
          continue
        for kind, pair in event["seconds"].items():
          found[kind].append(pair)
      progress.advance(1)
      sizes = f"batch {BATCH}, length {LENGTH}, width {WIDTH}, float32"
      note = f"forward and backward, {sizes}, processes {number + 1}; {device['clock']}; {peer}"
      yield {"device": device, "rows": [_row(kind, found[kind]) for kind in PEERS], "notes": [note]}


def _row(kind: str, pairs: list[Pair]) -> dict[str, Any]:
  """Medians over processes, and the geometric mean of the ratio with its 95 % interval."""
  row = {"name": kind, "by_process": pairs, "seconds": statistics.median(pair["ours"] for pair in pairs)}
  both = [pair for pair in pairs if "pytorch" in pair]
  if not both:
    return row | {"pytorch_seconds": None, "over_pytorch": None, "ci": None, "method": "none"}
  logs = [math.log2(pair["ours"] / pair["pytorch"]) for pair in both]
  low, high, method = stats.interval(logs, 0.025)
  ratio = {"over_pytorch": 2 ** statistics.fmean(logs), "ci": [2**low, 2**high], "method": method}
  return row | {"pytorch_seconds": statistics.median(pair["pytorch"] for pair in both)} | ratio


def table(document: Mapping[str, Any]):
  """The rows as a rich table."""
  from rich.table import Table

  shown = Table(box=None)
  for column in ("cell", "ms", "PyTorch ms", "over PyTorch"):
    shown.add_column(column)
  for row in document["rows"]:
    peer = ("-", "-")
    if row["ci"] is not None:
      low, high = row["ci"]
      peer = f"{1e3 * row['pytorch_seconds']:.3g}", f"{row['over_pytorch']:.3f} [{low:.3f}, {high:.3f}]"
    shown.add_row(row["name"], f"{1e3 * row['seconds']:.3g}", *peer)
  return shown


@contextlib.contextmanager
def _opened() -> Iterator[dict[str, str]]:
  """The environment in which MKL takes its fast paths on every CPU; empty without Linux or a C compiler."""
  compiler = shutil.which("cc") if sys.platform == "linux" else None
  with tempfile.TemporaryDirectory() as folder:
    source, library = Path(folder) / "open.c", Path(folder) / "open.so"
    source.write_text(OPEN)
    if compiler:
      command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
      subprocess.run(command, check=False, capture_output=True)
    yield {"LD_PRELOAD": str(library)} if library.exists() else {}


# ---------------------------------------------------------------------------------------------------------------------
# In a process of its own.


def one(request: Mapping[str, Any]) -> Iterator[timing.Event]:
  """Median seconds of our call and, where it is installed, of PyTorch's for each cell."""
  yield {"event": "hello", "device": timing.machine()}
  draw, seconds = np.random.default_rng(0), {}
  x_BTM, target_BTH = (draw.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32) for _ in range(2))
  for kind in PEERS:
    calls = {"ours": ours(kind, x_BTM, target_BTH)}
    if importlib.util.find_spec("torch"):
      calls["pytorch"] = theirs(kind, x_BTM, target_BTH)
    rounds = list(timing.rounds({name: timing.Turn(call) for name, call in calls.items()}, REPEATS))
    seconds[kind] = {name: statistics.median(times[name] for times in rounds) for name in calls}
  yield {"event": "measured", "seconds": seconds}


def ours(kind: str, x_BTM: np.ndarray, target_BTH: np.ndarray) -> Callable[[], None]:
  """A call that computes outputs and all gradients, and waits for them."""
  import jax
  import jax.numpy as jnp
  from flax import nnx

  from model import build, initial, mask

  cell = initial.realize(partial(build.make, "cell", {"kind": kind}, width=WIDTH, hidden=WIDTH))
  graphdef, params, rest = nnx.split(cell, nnx.Param, ...)

  def energy(params, x_BTM):
    cell: Any = nnx.merge(graphdef, params, rest)
    return (cell.run(x_BTM, mask.rows(LENGTH))[0] * target_BTH).sum()

  gradients, x = jax.jit(jax.value_and_grad(energy, argnums=(0, 1))), jnp.asarray(x_BTM)

  def call() -> None:
    jax.block_until_ready(gradients(params, x))

  return call


def theirs(kind: str, x_BTM: np.ndarray, target_BTH: np.ndarray) -> Callable[[], None]:
  """The same by PyTorch, on one thread."""
  import torch

  torch.set_num_threads(1)
  layer = getattr(torch.nn, PEERS[kind])(WIDTH, WIDTH, batch_first=True)
  x, target = torch.tensor(x_BTM, requires_grad=True), torch.tensor(target_BTH)

  def call() -> None:
    layer.zero_grad()
    x.grad = None
    (layer(x)[0] * target).sum().backward()

  return call
