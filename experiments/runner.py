"""Runs trials, checks and benches on worker processes; what is stored is skipped, what fails is recorded.

The parent never imports jax: it hands packs to workers (one per core on CPU) and keeps the score.
"""

import collections
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments import stamp
from experiments.cohorts import Pack, packs
from experiments.progress import Progress
from experiments.store import Store
from experiments.turns import Turns
from model.errors import Refused

VMAP_WIDTH = 16  # members per pack on an accelerator; on CPU members run one by one
CALL_STEPS = {"experiments.checks": 300, "experiments.bench": 3000}  # what a call counts for in the progress shown

Keep = Callable[[str, dict[str, list[float]]], None]  # what is done with a function's name and samples


class Interrupted(Exception):
  """A signal ended the command after its workers had saved."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.code = 128 + number


@dataclasses.dataclass
class Options:
  """How to run: number of workers (0 = one per core), whether final checkpoints stay, a folder for profiles, and
  whether results that other code made are kept, marked stale, or (the default) run again.
  """

  jobs: int = 0
  keep: bool = False
  profile: str = ""
  keep_stale: bool = False


class Worker:
  """One worker process and the thread that listens to it."""

  def __init__(self, root: Path, core: int, options: Options, inbox: queue.Queue):
    keep = "keep" if options.keep else "drop"
    command = [sys.executable, "-m", "experiments.worker", str(root), str(core), keep, options.profile]
    pipe = subprocess.PIPE
    self.process = subprocess.Popen(
      command, text=True, bufsize=1, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe
    )
    self.request: dict[str, Any] | None = None
    self.noise: collections.deque[str] = collections.deque(maxlen=20)
    threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()
    threading.Thread(target=self._drain, daemon=True).start()

  def _listen(self, inbox: queue.Queue) -> None:
    for line in self.process.stdout or ():
      inbox.put((self, json.loads(line)))
    inbox.put((self, {"event": "ended", "code": self.process.wait()}))

  def _drain(self) -> None:
    self.noise.extend(self.process.stderr or ())

  def send(self, request: dict[str, Any]) -> None:
    self.request = request
    assert self.process.stdin is not None
    try:
      self.process.stdin.write(json.dumps(request) + "\n")
    except BrokenPipeError:
      return  # its end arrives as an event, with the request still open

  def close(self) -> None:
    if self.process.stdin and not self.process.stdin.closed:
      self.process.stdin.close()


class Runner:
  """Keeps workers between batches of work, so that what they compiled is used again. Use as a context manager."""

  def __init__(self, store: Store, options: Options, progress: Progress):
    self.store, self.options, self.progress = store, options, progress
    self.workers: list[Worker] = []
    self.inbox: queue.Queue = queue.Queue()
    self.turns = Turns()
    self.backend: dict[str, Any] = {}
    self.signal: int = 0
    self.statuses: dict[str, str] = {}
    self.ran: set[str] = set()
    self.stale: set[str] = set()  # trials that other code made: kept with keep_stale, else run again
    self._previous: dict[int, Any] = {}

  def __enter__(self) -> "Runner":
    for number in (signal.SIGINT, signal.SIGTERM):
      self._previous[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, kind, *exc) -> None:
    for worker in self.workers:
      worker.close()
      if kind is not None and not self.signal:  # nothing to wait for: what was not finished is made again
        worker.process.kill()
    for worker in self.workers:
      try:
        worker.process.wait(timeout=10)
      except subprocess.TimeoutExpired:
        worker.process.kill()
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    stamp.forget()

  def _on_signal(self, number: int, _frame) -> None:
    if self.signal:  # asked twice: do not wait for the save
      for worker in self.workers:
        worker.process.kill()
    self.signal = number
    for worker in self.workers:
      worker.process.send_signal(signal.SIGTERM)
    self.inbox.put((None, {"event": "signal"}))

  def trials(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Results of these trials (key -> resolved config), running those that are not stored.

    What other code or data made is run again, or kept with "stale": True; either way it is told.
    """
    stored = self._stored(points)
    missing = {key: config for key, config in points.items() if key not in stored}
    if missing:
      codes = {
        key: stamp.code(config)["code_sha256"] for key, config in missing.items()
      }  # before any worker imports it
      self._start(len(missing))
      requests = [self._request(pack, codes) for pack in packs(missing, self._width())]
      self.progress.plan(sum(config["train"]["steps"] for config in missing.values()))
      self._work(requests)
      self.ran |= set(missing)
    results = {key: stored.get(key) or self.store.result(key) or self._failure(key) for key in points}
    self.statuses |= {key: result["status"] for key, result in results.items()}
    return results

  def expect(self, steps: int) -> None:
    """Says how many training steps will be asked for later, so that the time left counts them."""
    self.progress.expect(steps)

  @property
  def counts(self) -> dict[str, int]:
    """Trials of this command by what became of them, each counted once."""
    found = list(self.statuses.values())
    counted = {status: found.count(status) for status in ("diverged", "stalled", "failed")}
    return {"planned": len(found), "stored": len(found) - len(self.ran), "ran": len(self.ran), **counted}

  def calls(self, names: list[tuple[str, str]], keep: Keep) -> None:
    """Runs functions (prefix, name) such as ("experiments.checks", "mech.shape"); failures raise RuntimeError.

    `keep` gets a function's name and samples as soon as it has ended, so that nothing is lost by what comes later.
    """
    if names:
      self._start(len(names))
      self.progress.plan(sum(CALL_STEPS[prefix] for prefix, _ in names))
      self._work([{"kind": "call", "prefix": prefix, "name": name} for prefix, name in names], keep)

  def _stored(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The stored results that stand, by key."""
    found = {key: result for key in points if (result := self.store.result(key)) is not None}
    changes = {key: names for key, result in found.items() if (names := stamp.changed(points[key], result))}
    if not changes:
      return found
    if new := {key: names for key, names in changes.items() if key not in self.stale}:
      self.progress.warn(_told(new, self.options.keep_stale))
    self.stale |= changes.keys()
    if self.options.keep_stale:
      return {key: result | {"stale": True} if key in changes else result for key, result in found.items()}
    return {key: result for key, result in found.items() if key not in changes}

  def _failure(self, key: str) -> dict[str, Any]:
    return json.loads((self.store.trial(key) / "result.json").read_text())

  def _width(self) -> int:
    return 1 if self.backend["device"] == "cpu" else VMAP_WIDTH

  def _request(self, pack: Pack, codes: Mapping[str, str]) -> dict[str, Any]:
    members = {"keys": list(pack.keys), "configs": list(pack.configs), "code": [codes[key] for key in pack.keys]}
    return {"kind": "pack", "cohort": pack.cohort, **members}

  def _start(self, tasks: int) -> None:
    """Starts workers up to the number of jobs; the first one tells which device there is."""
    if not self.workers:
      self.workers.append(Worker(self.store.root, self._core(0), self.options, self.inbox))
      worker, event = self.inbox.get()
      if event["event"] != "hello":
        raise RuntimeError(f"a worker did not start: {' '.join(worker.noise) if worker else event}")
      self.backend = {name: event[name] for name in ("device", "device_name")}
      self.turns.device = self.backend["device"]
    jobs = min(self._jobs(), tasks)
    while len(self.workers) < jobs:
      self.workers.append(Worker(self.store.root, self._core(len(self.workers)), self.options, self.inbox))

  def _jobs(self) -> int:
    if self.options.jobs:
      return self.options.jobs
    return len(_cores()) if self.backend["device"] == "cpu" else 1

  def _core(self, index: int) -> int:
    cores = _cores()
    jobs = self.options.jobs or len(cores)
    return cores[index % len(cores)] if 1 < jobs <= len(cores) else -1

  def _work(self, requests: list[dict[str, Any]], keep: Keep = lambda name, samples: None) -> None:
    """Serves all requests."""
    self.turns.add(requests)
    for worker in self.workers:
      self._next(worker)
    while any(worker.request for worker in self.workers):
      worker, event = self.inbox.get()
      if worker is not None:
        self._handle(worker, event, keep)
      if self.signal and not any(w.process.poll() is None for w in self.workers):
        raise Interrupted(self.signal)
    if self.signal:
      raise Interrupted(self.signal)

  def _handle(self, worker: Worker, event: dict[str, Any], keep: Keep) -> None:
    kind = event["event"]
    if kind == "step":
      self.progress.step(tuple(event["keys"]), event["step"])
    elif kind == "compiling":
      self.progress.note(f"compiling {event['cohort'][:8]}")
    elif kind == "warning":
      self.progress.warn(event["text"])
    elif kind == "refused":
      raise Refused(event["message"])
    elif kind == "call_failed":
      raise RuntimeError(f"{event['name']}: {event['cause']}")
    elif kind == "called":
      keep(event["name"], event["samples"])
      self.progress.advance(CALL_STEPS[worker.request["prefix"]] if worker.request else 0)
      self._next(worker)
    elif kind in ("done", "failed"):
      if kind == "failed":
        self.progress.warn(f"a trial failed: {event['cause']}")
      self.progress.done(tuple(event["keys"]), worker.request or {})
      self._next(worker)
    elif kind == "ended":
      self._ended(worker, event["code"])

  def _ended(self, worker: Worker, code: int) -> None:
    """A worker is gone: asked to, or killed (by the system's memory guard, say)."""
    lost, worker.request = worker.request, None
    if self.signal:
      return
    self.workers.remove(worker)
    self.turns.drop(worker)
    if lost is None:
      return
    if lost["kind"] == "call":
      raise RuntimeError(f"{lost['name']}: the worker ended with code {code}: {' '.join(worker.noise)[-500:]}")
    hint = "killed, perhaps out of memory: use fewer --jobs" if code in (-9, 137) else "see crash.txt"
    self._record_loss(lost, f"the worker ended with code {code} ({hint})")
    replacement = Worker(self.store.root, self._core(len(self.workers)), self.options, self.inbox)
    self.workers.append(replacement)
    self._next(replacement)

  def _record_loss(self, request: dict[str, Any], cause: str) -> None:
    from experiments import atomic

    for key, config in zip(request["keys"], request["configs"], strict=True):
      self.store.begin(key, config, self.store.curve(key))
      result = {"schema": 1, "status": "failed", "cause": cause, "steps": 0, "measures": {}, "seconds": 0.0}
      atomic.write_json(self.store.trial(key) / "result.json", result)
    self.progress.warn(f"a trial failed: {cause}")

  def _next(self, worker: Worker) -> None:
    """Hands over the next request, if there is one."""
    worker.request = None
    request = None if self.signal else self.turns.take(worker)
    if request is not None:
      worker.send(request)


def _told(changes: Mapping[str, list[str]], kept: bool) -> str:
  """One line on what other code made."""
  files = sorted({name for names in changes.values() for name in names})
  shown = ", ".join(files[:6]) + (f" and {len(files) - 6} more" if len(files) > 6 else "")
  trials = f"{len(changes)} trials were" if len(changes) > 1 else "1 trial was"
  done = "kept, marked stale" if kept else "run again (--keep_stale keeps what is stored)"
  return f"{trials} made by other code and {done}: {shown} changed"


def _cores() -> list[int]:
  return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
