"""Runs the parts, each in a process of its own, within a budget each and one deadline, and writes what is known.

OUT/gpu.json is whole after every part; OUT/gpu.md and OUT/gpu.html are made of it at the end.
"""

import argparse
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.gpu import figures, parts
from experiments.bench.gpu.parts import MACHINE, PARTS, Part
from experiments.record import atomic
from experiments.run import signals
from model.errors import Refused

JSON, RENDER = "gpu.json", "experiments.pages.device"
LOG = 3000  # characters of a failed part's output that are kept
LEAST = 5.0  # seconds under which no part is begun
CPU = {"JAX_PLATFORMS": "cpu"}
STOPPED = {"status": "stopped", "reason": "a signal ended the script; figures up to then are kept"}


def main(argv: Sequence[str]) -> int:
  """Exit code 0 when every part asked for was measured or could not be here, 2 for a mistake, 3 when one failed."""
  try:
    asked = _parser().parse_args(argv)
    wanted = _wanted(asked.parts)
    minutes = asked.minutes or (parts.REHEARSAL if asked.tiny else parts.MINUTES)
    if not 0.5 <= minutes <= 600:
      raise Refused(f"--minutes={minutes:g} is no time for this; allowed: 0.5 to 600, and {parts.MINUTES:g} is usual")
    with signals.caught():
      return Run(asked.out, asked.inputs or asked.out / "inputs", asked.tiny, minutes).all(wanted)
  except Refused as refusal:
    print(refusal, file=sys.stderr)
    return 2
  except signals.Interrupted as interrupted:
    print("stopped; what was measured is kept", file=sys.stderr)
    return interrupted.code


def _parser() -> argparse.ArgumentParser:
  names = ", ".join(part.name for part in PARTS)
  parser = argparse.ArgumentParser(prog="python -m experiments.bench.gpu", description=__doc__)
  parser.add_argument("out", type=Path, help="the folder for gpu.json, gpu.md and gpu.html")
  parser.add_argument("--inputs", type=Path, help="resolved configurations (default: OUT/inputs)")
  parser.add_argument("--tiny", action="store_true", help="a rehearsal on the CPU at tiny sizes")
  parser.add_argument("--minutes", type=float, help=f"the deadline for all (default {parts.MINUTES:g})")
  parser.add_argument("--parts", default="", help=f"only these: {names}")
  return parser


def _wanted(text: str) -> list[Part]:
  known = {part.name: part for part in PARTS}
  names = [name.strip() for name in text.split(",") if name.strip()] or list(known)
  for name in names:
    if name not in known:
      raise Refused(f"--parts={text}: there is no part {name!r}; allowed: {', '.join(known)}")
  return [known[name] for name in dict.fromkeys(names)]


class Run:
  """One run of the script and its document, which grows part by part."""

  def __init__(self, out: Path, inputs: Path, tiny: bool, minutes: float):
    self.out, self.inputs, self.tiny = out, inputs.absolute(), tiny
    self.started, self.seconds = time.monotonic(), 60 * minutes
    self.scale = minutes / parts.MINUTES
    self.interrupted: signals.Interrupted | None = None
    self.document: dict[str, Any] = {
      "schema": 1,
      "name": "gpu",
      "rehearsal": tiny,
      "complete": False,
      "machine": {},
      "run": {"date": _now(), "minutes": minutes, "seconds": 0.0},
      "parts": [],
    }

  def all(self, wanted: Sequence[Part]) -> int:
    """Measures, writes and renders; raises Refused where the machine is not what was asked for."""
    self._know_machine()
    for index, part in enumerate(wanted):
      self.document["parts"].append(self._done(part))
      self._write()
      print(_line(self.document["parts"][index]), file=sys.stderr, flush=True)
      if self.interrupted:
        raise self.interrupted
    self.document["complete"] = True
    self._write()
    self._render()
    return 3 if any(part["status"] in ("failed", "out of time") for part in self.document["parts"]) else 0

  def _know_machine(self) -> None:
    found = self._done(MACHINE)
    if self.interrupted:
      raise self.interrupted
    if found["status"] != "done":
      raise Refused(" ".join(f"jax finds no device here: {found['reason']}; see `assay doctor`".split()))
    if found["details"]["backend"] == "cpu" and not self.tiny:
      raise Refused("jax finds no accelerator here, only the CPU; allowed there: --tiny, a rehearsal at tiny sizes")
    self.document["machine"] = {**found["details"], "check": found["figures"]}
    self._write()

  def _done(self, part: Part) -> dict[str, Any]:
    """The part's entry of the document: status, reason, seconds, figures, details, and the log of what failed."""
    began = time.monotonic()
    budget = min(part.seconds * self.scale, self._left())
    known = {"name": part.name, "what": part.what, "budget_seconds": round(budget, 1)}
    if budget < LEAST:
      nothing = {"figures": [], "details": {}, "seconds": 0.0}
      return {**known, **nothing, **_entry("not reached", "the deadline came first")}
    found: list[dict[str, Any]] = []
    entry: dict[str, Any] = {}
    for number in range(1 if self.tiny else part.processes):
      left, spent = budget - (time.monotonic() - began), time.monotonic() - began
      if number and left < 1.1 * spent / number:
        break  # another process would not come to its end
      found.append(self._process(part, number, left))
      entry = {**known, **_summed(found), "seconds": round(time.monotonic() - began, 2)}
      if part is not MACHINE:
        self._write(entry)  # whatever ends this script later
      if found[-1]["status"] != "done":
        break
    return entry

  def _process(self, part: Part, number: int, seconds: float) -> dict[str, Any]:
    """One process of a part, killed with all that it started when its time is over."""
    with tempfile.TemporaryDirectory(prefix="assay-gpu-") as folder, open(Path(folder) / "log", "w+") as log:
      result = Path(folder) / "result.json"
      code = None
      try:
        code = _ended(self._request(part, number, result), self._environment(part), log, seconds)
      except signals.Interrupted as interrupted:
        self.interrupted = interrupted  # what the part had found goes on disk first
      log.seek(0)
      found = _judged(result, code, log.read(), seconds)
      return {**found, **(STOPPED if self.interrupted else {})}

  def _request(self, part: Part, number: int, result: Path) -> dict[str, Any]:
    machine = self.document["machine"]
    return {
      "module": part.module,
      "tiny": self.tiny,
      "inputs": str(self.inputs),
      "result": str(result),
      "process": number,
      "processes": part.processes,
      "backend": machine.get("backend"),
      "memory_bytes": machine.get("memory_bytes"),
    }

  def _environment(self, part: Part) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **part.environment, **(CPU if self.tiny else {}), "PYTHONPATH": path}

  def _left(self) -> float:
    return self.seconds - (time.monotonic() - self.started) - parts.RENDERING * min(1.0, self.scale)

  def _write(self, *running: Mapping[str, Any]) -> None:
    """Puts the document on disk, with what is known of the part that runs."""
    self.document["run"]["seconds"] = round(time.monotonic() - self.started, 2)
    whole = {**self.document, "parts": [*self.document["parts"], *running]}
    atomic.write_json(self.out / JSON, whole, indent=1)

  def _render(self) -> None:
    """The pages, in a process of their own: what draws them may be missing here."""
    command = [sys.executable, "-m", RENDER, str(self.out / JSON)]
    environment = self._environment(MACHINE)
    try:
      done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
      print((done.stdout + done.stderr[-LOG:]).strip(), file=sys.stderr)
    except subprocess.TimeoutExpired:
      print(f"the pages took too long; write them by `python -m {RENDER} {self.out / JSON}`", file=sys.stderr)


def _ended(request: Mapping[str, Any], environment: Mapping[str, str], log: Any, seconds: float) -> int | None:
  """The exit code of the process that answers a request; None when its time was over."""
  command = [sys.executable, "-m", "experiments.bench.gpu.part"]
  process = subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env=environment, start_new_session=True
  )
  try:
    process.communicate(json.dumps(request), timeout=max(0.1, seconds))
    return process.returncode
  except subprocess.TimeoutExpired:
    return None
  finally:
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(process.pid, signal.SIGKILL)  # what it started too, also when a signal ends this script
    process.wait()


def _judged(result: Path, code: int | None, log: str, seconds: float) -> dict[str, Any]:
  """What a process left: its figures in any case, and what became of it."""
  found = json.loads(result.read_text()) if result.exists() else {}
  kept = {"figures": found.get("figures", []), "details": found.get("details", {})}
  problems = found.get("problems", [])
  if code is None:
    return kept | _entry("out of time", f"stopped after its {seconds:.0f} s; figures up to then are kept", log)
  if code < 0:
    return kept | _entry("failed", f"its process was ended by {_signal(-code)}, perhaps out of memory", log)
  if code:
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "in silence")
    return kept | _entry("failed", found.get("crash") or f"its process ended with code {code}: {last[:400]}", log)
  if problems:
    return kept | _entry("failed", "; ".join(problems), log)
  if found.get("skipped"):
    return kept | _entry("skipped", found["skipped"])
  return kept | _entry("done", "")


def _entry(status: str, reason: str, log: str = "") -> dict[str, Any]:
  return {"status": status, "reason": reason, "log": log[-LOG:]}


def _summed(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Several processes of one part: figures joined, the first one's details, the last one's status.

  Where a later process did not come to its end, the figures of those before are whole: the part is done.
  """
  last = found[-1]
  if len(found) > 1 and last["status"] == "out of time":
    found, last = found[:-1], found[-2]
  joined = figures.merged([one for each in found for one in each["figures"]])
  return {**last, "figures": joined, "details": found[0]["details"], "processes": len(found)}


def _signal(number: int) -> str:
  return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _line(part: Mapping[str, Any]) -> str:
  reason = f": {part['reason']}" if part["reason"] else ""
  return f"{part['name']}: {part['status']} in {part['seconds']:.0f} s, {len(part['figures'])} figures{reason[:300]}"


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
