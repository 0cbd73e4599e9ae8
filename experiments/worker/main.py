"""A worker process: takes requests on stdin, tells events on stdout (experiments/run/messages.py).

Started by `experiments.run.runner`; never by hand. It dies with its parent.
"""

import collections
import contextlib
import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

from experiments.run import messages
from experiments.worker import memory
from model.errors import Refused


def main(argv: list[str]) -> int:
  """Argv = [workdir, core or -1, "keep" | "drop", profile folder or ""]; returns the exit code."""
  root, core, keep, profile = Path(argv[0]), int(argv[1]), argv[2] == "keep", argv[3]
  _die_with_parent()
  if core >= 0 and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {core})
  events = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever else prints goes to stderr: stdout is the protocol
  stopping: list[int] = []
  serving: list[messages.Request] = []

  def stop(number, _frame):
    stopping.append(number)
    if serving and isinstance(serving[0], messages.Call):  # a check or a bench has nothing to save
      os._exit(143)

  signal.signal(signal.SIGTERM, stop)
  signal.signal(signal.SIGINT, signal.SIG_IGN)

  from experiments.record import stamp
  from experiments.run.cohorts import drop_oldest
  from experiments.worker import serve as work
  from train import compute

  compute.cache_compiled()

  def tell(event: messages.Event) -> None:
    try:
      events.write(messages.line(event))
    except BrokenPipeError:  # whoever asked is gone; what is stored stays, and this is no trial's failure
      os._exit(1)

  here = stamp.device()
  tell(messages.Hello(**here))
  cohorts: collections.OrderedDict[str, object] = collections.OrderedDict()
  trimmer = memory.Trimmer(base=memory.used())
  with compute.profile(profile or None):
    for line in sys.stdin:
      request = messages.read(line)
      assert isinstance(request, messages.Request)
      serving[:] = [request]
      ended = work.one(root, request, cohorts, keep=keep, stop=lambda: bool(stopping), tell=tell)
      serving.clear()
      if stopping or ended == "stopped":
        return 143
      if request.cohort in cohorts:
        cohorts.move_to_end(request.cohort)
      drop_oldest(cohorts, here["device"])
      if dropped := trimmer.trim(cohorts):
        tell(messages.Dropped(tuple(dropped)))
  return 0


def _die_with_parent() -> None:
  """A killed command must not leave workers that write on (Linux; elsewhere stdin's end stops them)."""
  if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
  try:
    sys.exit(main(sys.argv[1:]))
  except Refused as refusal:
    print(messages.line(messages.Declined(str(refusal))), end="", flush=True)
    sys.exit(2)
  except Exception:
    with contextlib.suppress(OSError), (Path(sys.argv[1]) / "crash.txt").open("a") as crash:
      crash.write(traceback.format_exc())
    sys.exit(1)
