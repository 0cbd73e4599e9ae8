"""How benches measure: in fresh processes, each on one core, with calls that take turns.

Repeats inside a process share its memory layout and its compiled code, so they are not independent: the unit of every
interval is a process.
"""

import contextlib
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from typing import Any, TypeVar

from model.errors import Refused

PROCESS, WALL = "process time", "wall time"
TURN, MOST = 0.1, 100  # seconds that a turn lasts at least, and calls that it makes at most

# glibc keeps the memory that it has got. Else the pages of large temporary arrays come and go with every call, at a
# cost that depends on what ran before: beside additive attention, naive attention then takes twice its time.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}

Event = dict[str, Any]
Result = TypeVar("Result")
Name = TypeVar("Name", bound=Hashable)


def fresh(
  function: str, request: Mapping[str, Any], environment: Mapping[str, str] = {}
) -> Generator[Event, None, None]:
  """What `<module>.<function>(request)` yields in a new process, pinned to one core, without a cache of programs.

  The process is killed when the iterator is closed or interrupted. Raises Refused for what the function refuses, and
  when the system kills it; RuntimeError when it fails.
  """
  variables = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false", **environment}
  command, pipe = [sys.executable, "-m", "experiments.bench.timing", function], subprocess.PIPE
  with (
    tempfile.TemporaryFile("w+") as noise,
    subprocess.Popen(
      command, text=True, env=variables, stdin=pipe, stdout=pipe, stderr=noise, start_new_session=True
    ) as process,
  ):
    try:
      assert process.stdin is not None
      with contextlib.suppress(BrokenPipeError), process.stdin as asked:  # its end is told below
        asked.write(json.dumps(request))
      for line in process.stdout or ():
        event = json.loads(line)
        if event["event"] == "refused":
          raise Refused(event["message"])
        yield event
      _ended(process.wait(), noise)
    finally:
      process.kill()


def _ended(code: int, noise) -> None:
  if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
    raise Refused("a measuring process was killed, perhaps out of memory; give shorter --lengths or a smaller --limit")
  if code:
    noise.seek(0)
    said = noise.read().strip()
    error = RuntimeError(
      f"a measuring process ended with code {code}: {said.splitlines()[-1] if said else 'in silence'}"
    )
    error.add_note(said)  # for crash.txt
    raise error


def main(argv: list[str]) -> int:
  """The other side of `fresh`: argv = [module.function], the request on stdin, events on stdout."""
  events = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever else prints goes to stderr: stdout is the protocol
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before jax starts its threads
  module, function = argv[0].rsplit(".", 1)
  try:
    for event in getattr(importlib.import_module(module), function)(json.load(sys.stdin)):
      events.write(json.dumps(event) + "\n")
  except Refused as refusal:
    events.write(json.dumps({"event": "refused", "message": str(refusal)}) + "\n")
  except BrokenPipeError:
    return 1  # who asked is gone
  except Exception:
    traceback.print_exc()
    return 1
  return 0


def sample(request: Mapping[str, Any]) -> Iterator[Event]:
  """Samples of a bench that belongs to a claim, request = {"run": "score.speed"}."""
  from experiments.worker import serve as work

  yield {"event": "hello", "device": machine()}
  yield {"event": "samples", "samples": work.call(request["run"], "experiments.bench")}


def machine() -> dict[str, Any]:
  """Device, clock, usable cores and load of the machine; starts jax."""
  from experiments.record import stamp
  from train import compute

  return stamp.device() | {"clock": clock(), "cores": compute.cores(), "load_before": load()}


def load() -> list[float]:
  """Load averages over 1, 5 and 15 minutes; empty where the system has none."""
  return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def machine_memory() -> float:
  """Bytes of memory that the machine has; infinite where the system does not tell."""
  if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
    return math.inf
  return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
  """What the call returns, and its seconds by `clock`."""
  now = time.process_time if clock() == PROCESS else time.perf_counter
  started = now()
  result = call()
  return result, now() - started


def clock() -> str:
  """Process time on a CPU, where the process has one core: neighbors do not count. Wall time on an accelerator."""
  import jax

  return PROCESS if jax.default_backend() == "cpu" and hasattr(os, "sched_setaffinity") else WALL


class Turn:
  """A call and how often it is made in a row: short ones fill TURN seconds. Making one runs the call once."""

  def __init__(self, call: Callable[[], Any]):
    _, once = timed(call)
    self.call, self.count = call, max(1, int(TURN / max(once, TURN / MOST)))

  def seconds(self) -> float:
    """Seconds per call. Before short calls one is not counted: it finds the caches and the memory of its neighbor."""
    if self.count > 1:
      self.call()
    return timed(lambda: [self.call() for _ in range(self.count)])[1] / self.count


def rounds(turns: Mapping[Name, Turn], repeats: int) -> Iterator[dict[Name, float]]:
  """Seconds per call of each, `repeats` times, one after the other so that a disturbance of the machine hits all."""
  for _ in range(repeats):
    yield {name: turn.seconds() for name, turn in turns.items()}


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
