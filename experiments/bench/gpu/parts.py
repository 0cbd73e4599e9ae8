"""The parts of the script, in the order in which they run: what each is for, and how long it may take."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import Refused

MINUTES = 10.0  # what the budgets below are meant for; with another deadline they grow and shrink with it
REHEARSAL = 60.0  # minutes that a rehearsal may take by default, on a CPU that does other work beside it
RENDERING = 15.0  # seconds kept for the pages
PREPARE = "python -m experiments.bench.gpu.prepare FOLDER"

Request = Mapping[str, Any]


class Part(NamedTuple):
  """One part: `module` is where `measure(request)` is, which yields what it has found as soon as it has.

  seconds: its budget, of which every process gets what the ones before have left. processes: how many may measure the
  same, one after the other. environment: variables of its processes.
  """

  name: str
  module: str
  what: str
  seconds: float
  processes: int = 1
  environment: Mapping[str, str] = {}


HERE = __package__

# In one process with PyTorch jax takes less than half of the memory.
SHARED = {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".45"}
MACHINE = Part("machine", f"{HERE}.machine", "device, driver and versions", 45.0)
PARTS = (
  Part("tests", f"{HERE}.marked", "the tests marked gpu: the accelerator's numbers against the CPU's", 120.0),
  Part(
    "members", f"{HERE}.members", "a pack of members side by side against members alone: same numbers, and time", 80.0
  ),
  Part("claims", f"{HERE}.tier", "the claims of the gpu tier", 90.0),
  Part(
    "step", f"{HERE}.beside_torch", "a training step beside PyTorch's on the same device", 150.0, environment=SHARED
  ),
  Part("growth", f"{HERE}.lengths", "how time and memory of attention grow with the length", 110.0, processes=3),
)


class Skipped(Exception):
  """The part cannot be measured here; says why in one line."""


def config(request: Request, name: str) -> dict[str, Any]:
  """The resolved configuration of a part, as `prepare` wrote it. Raises Skipped where there is none."""
  path = path_of(Path(request["inputs"]), name, tiny=request["tiny"])
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    raise Skipped(f"there is no {path}; write it by `{PREPARE}` where configs can be imported") from None
  except ValueError:
    raise Refused(f"{path} holds no configuration; write it again by `{PREPARE}`") from None


def path_of(folder: Path, name: str, *, tiny: bool) -> Path:
  """Where the configuration of a part lies, at full size or at the rehearsal's."""
  return folder / ("tiny" if tiny else "full") / f"{name}.json"
