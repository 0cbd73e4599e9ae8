"""The tests marked gpu, by pytest in a process of its own; they hold the accelerator's numbers against the CPU's."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from experiments.bench.gpu import machine
from experiments.bench.gpu.figures import figure
from experiments.bench.gpu.parts import Request, Skipped
from experiments.record import digest
from train import compute

MARK = "pytest.mark.gpu"
NEEDED = ("pytest", "hypothesis")  # conftest.py reads both
OUTCOMES = {"PASSED": "passed", "FAILED": "failed", "ERROR": "failed", "SKIPPED": "skipped"}
# One line per test, "tests/a.py::test_b[c] PASSED [ 5%]", or with several workers "[gw0] [ 5%] PASSED tests/a.py::...".
LINE = re.compile(rf"^(?:\[gw\d+\] \[ *\d+%\] (?P<far>[A-Z]+) \S+::|\S+::.* (?P<near>{'|'.join(OUTCOMES)})\b)")
SIDE_BY_SIDE, CORES = 4, 8  # workers, where a machine has so many cores; compiling is most of the time


def measure(request: Request) -> Iterator[dict[str, Any]]:
  """Counts of outcomes, test by test; every failed test is a problem."""
  missing = [name for name in NEEDED if not machine.installed(name)]
  if missing:
    raise Skipped(f"{' and '.join(missing)} not installed here, so no test could run")
  counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES.values(), 0))
  told: list[str] = []
  with subprocess.Popen(
    command(files(digest.root() / "tests")),
    cwd=digest.root(),
    env=os.environ | environment(request["backend"]),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    for line in process.stdout or ():
      told.append(line.rstrip())
      word = outcome(line)
      if word:
        counts[word] += 1
        yield {"figures": _figures(counts, request["backend"])}
  yield {"problems": problems(process.returncode, counts, told)}


def files(folder: Path) -> list[Path]:
  """The test files that hold such a test: the others need not be importable here."""
  return sorted(path for path in folder.rglob("test_*.py") if MARK in path.read_text())


def command(paths: Iterable[Path]) -> list[str]:
  """What is run."""
  workers = ["-n", str(SIDE_BY_SIDE)] if machine.installed("xdist") and compute.cores() >= CORES else []
  found = [str(path) for path in paths]
  if not found:
    raise Skipped(f"no test file holds {MARK}")
  return [sys.executable, "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider", *workers, "-m", "gpu", *found]


def environment(backend: str) -> dict[str, str]:
  """What the tests are told: which device they must find, and that it is theirs together with the CPU."""
  return {
    "ASSAY_ACCELERATOR": backend,
    "JAX_PLATFORMS": "cpu" if backend == "cpu" else "",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "CI": "",
  }


def outcome(line: str) -> str:
  """passed, failed or skipped, if the line tells the end of a test."""
  found = LINE.match(line)
  return OUTCOMES.get(found["far"] or found["near"], "") if found else ""


def problems(code: int, counts: Counter[str], told: list[str]) -> list[str]:
  """What was wrong, one line each; none when all that ran passed and something ran."""
  failed = [line for line in told if line.startswith(("FAILED ", "ERROR "))]
  if code and not failed:
    last = next((line for line in reversed(told) if line.strip()), "in silence")
    return [f"pytest ended with code {code}: {last[:300]}"]
  return [line[:300] for line in failed] or ([] if counts["passed"] else ["no test ran"])


def _figures(counts: Counter[str], backend: str) -> list[dict[str, Any]]:
  return [{**figure(f"tests {word}", count, "tests"), "device": backend} for word, count in counts.items()]
