"""Time and memory of the commands as a user runs them, each in a process of its own.

`python -m experiments.bench.budgets [NAME ...]` prints wall seconds, peak memory (of the largest process, times the
workers) and the exit code.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from train import compute

ASSAY = [sys.executable, "-m", "experiments.cli"]
GROUPS = ("MECH", "SCALE", "ADD", "HEAD")


def main(argv: list[str]) -> int:
  """Measures all commands, or those named; cold ones get an empty compile cache."""
  folder = Path(tempfile.mkdtemp(prefix="assay-budgets-"))
  work = f"--workdir={folder / 'work'}"
  commands = {
    "help": (["--help"], False),
    "list claims": (["list", "claims", "--json"], False),
    "exact": (["reproduce", *GROUPS, "--tier=exact", "--json", f"--workdir={folder / 'exact'}"], True),
    "compare": (
      ["compare", "attention=dot", "attention=additive", "--config=recall", f"--workdir={folder / 'compare'}"],
      True,
    ),
    "quick": (["reproduce", "--tier=quick", "--json", work], True),
    "stored": (["reproduce", "--tier=quick", "--json", work], False),
  }
  for name in argv or commands:
    arguments, cold = commands[name]
    seconds, memory, code = measured(arguments, folder / f"cache-{name}" if cold else folder / "cache")
    print(f"{name:12} {seconds:8.2f} s   peak {memory / 2**30:.2f} GiB   exit {code}", flush=True)
  shutil.rmtree(folder, ignore_errors=True)
  return 0


def measured(arguments: list[str], cache: Path) -> tuple[float, int, int]:
  """Wall seconds, peak bytes of the largest process times the number of workers at most, and the exit code."""
  began = time.monotonic()
  environment = os.environ | {"ASSAY_CACHE": str(cache)}
  done = subprocess.run([*ASSAY, *arguments], env=environment, stdout=subprocess.DEVNULL, check=False)
  seconds = time.monotonic() - began
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
  return seconds, peak * compute.cores(), done.returncode


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
