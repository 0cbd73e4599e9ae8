"""`assay test path/mine.py:Mine`: what every mechanism, position scheme, cell or task keeps to, tried on one class.

The contract tests of tests/ run over the class, in a pytest of their own; the class's base says which family it is.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from configs import slots, source
from experiments.record import digest
from model.errors import Refused

CONTRACTS = {  # the tests that hold for every kind of a family; in them those marked `contract`
  "attention": "tests/model/attention/test_contract.py",
  "position": "tests/model/position/test_contract.py",
  "cell": "tests/model/cell/test_contract.py",
  "tasks": "tests/train/tasks/test_tasks.py",
}
FAMILIES = {"attention": "mechanism", "position": "position", "cell": "cell", "tasks": "task"}
LONGEST = 300  # characters of a cause


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Names the contracts that the class keeps and those that it breaks, with why; code 3 when it breaks one."""
  kind = slots.located(space.kind)
  family = _family(kind)
  _can_test(family)
  _imported(family, kind)
  print(f"trying what every {FAMILIES[family]} keeps to on {space.kind}; this takes a minute or so", file=sys.stderr)
  found = _tried(family, kind)
  passed, failed = [name for name, cause in found.items() if not cause], {n: c for n, c in found.items() if c}
  if not space.json:
    _print(space.kind, family, passed, failed)
  return {
    "schema": 1,
    "class": kind,
    "family": FAMILIES[family],
    "passed": passed,
    "failed": [{"name": name, "cause": cause} for name, cause in failed.items()],
  }, 3 if failed else 0


def _family(kind: str) -> str:
  """The family whose base class this one is built on. Raises Refused for any other class."""
  if ":" not in kind:
    raise Refused(f"{kind!r} names no class of a file; write path/to/mine.py:Mine")
  above, _ = source.chain(slots.class_of("models", kind))
  bases = {(file, name): family for family, (file, name) in slots.INTERFACES.items()}
  for one in above:
    inside = one.path.is_relative_to(source.ROOT)
    place = (one.path.relative_to(source.ROOT).as_posix() if inside else "", one.node.name)
    if place in bases:
      slots.describe(bases[place], kind)  # refuses what the builder could not build
      return bases[place]
  allowed = ", ".join(f"{name} of {file}" for file, name in slots.INTERFACES.values())
  raise Refused(f"{kind}: no contract is known for what this class is built on; allowed: {allowed}")


def _can_test(family: str) -> None:
  for package in ("pytest", "hypothesis"):
    if importlib.util.find_spec(package) is None:
      raise Refused(f"{package} is not installed, which the contract tests need; run pip install -e '.[test]'")
  if not (digest.root() / CONTRACTS[family]).is_file():
    raise Refused(f"{digest.root() / CONTRACTS[family]} is missing; install from a clone of the repository")


def _imported(family: str, kind: str) -> None:
  """Refuses a file that cannot be imported, in one line."""
  from model import build

  build.resolve(family, kind, "train" if family == "tasks" else "model")


def _tried(family: str, kind: str) -> dict[str, str]:
  """Every contract that applies, with the cause of its first failure, "" where there is none."""
  with tempfile.TemporaryDirectory(prefix="assay-test-") as folder:
    report = Path(folder, "report.xml")
    options = ["-m", "contract", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    path = os.pathsep.join(filter(None, [str(digest.root()), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "ASSAY_CONTRACT": f"{family}={kind}", "PYTHONPATH": path}
    env.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", CONTRACTS[family], *options]
    done = subprocess.run(command, cwd=digest.root(), env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or not report.is_file():  # 1: a test failed
      raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return _read(ElementTree.parse(report), Path(kind.rpartition(":")[0]).name)


def _read(report: Any, file: str) -> dict[str, str]:
  """One entry per test function; its cases, such as dense and by blocks, count together."""
  found: dict[str, str] = {}
  for case in report.iter("testcase"):
    if case.find("skipped") is not None:
      continue  # the class does not promise it
    name = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
    fault = next((part for tag in ("failure", "error") if (part := case.find(tag)) is not None), None)
    cause = "" if fault is None else _cause(fault.get("message", ""), fault.text or "", file)
    found[name] = found.get(name) or cause
  return found


def _cause(message: str, trace: str, file: str) -> str:
  """The error in one line: what it says, without the values that pytest adds, and the line of the user's file."""
  share = re.search(r"Mismatched elements: (\d+) / (\d+)", message)
  if share:  # numpy compared two arrays, and shows many numbers
    size = re.search(r"Max absolute difference[^:]*: (\S+)", trace)
    return f"{share[1]} of {share[2]} numbers differ" + (f", by up to {float(size[1]):.3g}" if size else "")
  lines = [line.strip() for line in message.partition("\n-----")[0].splitlines()]  # jax tells of its traceback below
  said = [line for line in lines if line and not re.match(r"(assert|\+|ACTUAL|DESIRED|Mismatch at|\[|x:|y:) ?", line)]
  text = " ".join(said).removeprefix("AssertionError:").strip() or " ".join(lines)
  places = re.findall(rf"{re.escape(file)}:(\d+):", trace)
  return text[:LONGEST] + (f" ({file}:{places[-1]})" if places else "")


def _print(kind: str, family: str, passed: list[str], failed: dict[str, str]) -> None:
  from rich.console import Console
  from rich.table import Table
  from rich.text import Text

  table = Table(box=None, pad_edge=False, show_header=False)
  for name, cause in failed.items():
    table.add_row(Text("✗"), Text(name), Text(cause))
  for name in passed:
    table.add_row(Text("✓"), Text(name), Text(""))
  Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
  verdict = f"breaks {len(failed)} of {len(failed) + len(passed)}" if failed else f"keeps all {len(passed)}"
  print(f"{kind} {verdict} contracts of a {FAMILIES[family]}")
