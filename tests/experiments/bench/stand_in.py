"""A part of the GPU script that does what STAND_IN says, without jax."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments.bench.gpu.figures import figure
from experiments.bench.gpu.parts import Skipped
from model.errors import Refused

MACHINE = {
  "backend": "cpu",
  "name": "stand-in",
  "count": 1,
  "clock": "wall time",
  "platform_version": "",
  "memory_bytes": None,
  "nvidia_smi": [],
  "versions": {"jax": "0"},
  "code_sha256": "0" * 64,
}


def measure(request):
  deed = os.environ["STAND_IN"]
  if deed == "machine":
    yield {"details": MACHINE | {"backend": os.environ.get("STAND_IN_BACKEND", "cpu")}}
    return
  if deed == "skip":
    raise Skipped("nothing here\nto measure")
  yield {"figures": [{**figure("first", [1.0, 3.0], "ms"), "device": "cpu"}], "details": {"note": deed}}
  if deed == "crash":
    raise RuntimeError("a broken part")
  if deed == "refuse":
    raise Refused("this cannot be")
  if deed == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
  if deed == "wrong":
    yield {"problems": ["the numbers differ"]}
  if deed == "hang":  # and a process of its own, which must not outlive it
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["STAND_IN_CHILD"]).write_text(str(child.pid))
    time.sleep(600)
  yield {"figures": [{**figure("second", 2.0 + request["process"], "1"), "device": "cpu"}]}
