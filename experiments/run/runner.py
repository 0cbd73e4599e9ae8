"""Runs trials, checks and benches on worker processes; what is stored is skipped, what fails is recorded.

The parent never imports jax: it hands packs to workers (one per core on CPU) and keeps the score.
"""

import collections
import contextlib
import dataclasses
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from experiments.record import stamp
from experiments.run import messages
from experiments.run.cohorts import Pack, Turns, packs, remember
from experiments.run.progress import Progress
from experiments.run.signals import Interrupted, caught
from experiments.run.store import Store
from model.errors import Refused
from model.schema import flatten
from train import compute

if TYPE_CHECKING:
  from experiments.run.writers.writer import Writer
  from experiments.run.writing import Writing

VMAP_WIDTH = 16  # members per pack on an accelerator; on CPU members run one by one
CALL_STEPS = {"experiments.claims": 300, "experiments.bench": 3000}  # what a call counts for in the progress shown

TRIES = 3  # of a request whose worker is lost, before that is recorded

Keep = Callable[[str, messages.Samples], None]  # what is done with a function's name and samples
Ended = Callable[[Mapping[str, dict[str, Any]]], None]  # what is done with results, by key, as they come


@dataclasses.dataclass
class Options:
  """How to run: number of workers (0 = one per core), whether final checkpoints stay, a folder for profiles,
  whether results that other code made are kept, marked stale, or (the default) run again, and who else gets the trials.
  """

  jobs: int = 0
  keep: bool = False
  profile: str = ""
  keep_stale: bool = False
  writers: Mapping[str, "Writer"] = dataclasses.field(default_factory=dict)  # by name, of writing.chosen


@dataclasses.dataclass(frozen=True)
class Gone:
  """A worker's process is gone, with this exit code; the thread that listened to it says so."""

  code: int


Heard = messages.Event | Gone | messages.Unreadable


class Worker:
  """One worker process and the thread that listens to it."""

  def __init__(self, root: Path, core: int, options: Options, inbox: queue.SimpleQueue):
    keep = "keep" if options.keep else "drop"
    command = [sys.executable, "-m", "experiments.worker.main", str(root), str(core), keep, options.profile]
    pipe = subprocess.PIPE
    self.process = subprocess.Popen(
      command, text=True, bufsize=1, start_new_session=True, stdin=pipe, stdout=pipe, stderr=pipe
    )
    self.request: messages.Request | None = None
    self.noise: collections.deque[str] = collections.deque(maxlen=20)
    threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()
    threading.Thread(target=self._drain, daemon=True).start()

  def _listen(self, inbox: queue.SimpleQueue) -> None:
    assert self.process.stdout is not None
    with self.process.stdout as said:
      for line in said:
        with contextlib.suppress(json.JSONDecodeError):  # torn off: its worker is lost, which is told next
          inbox.put((self, _heard(line)))
    inbox.put((self, Gone(self.process.wait())))

  def _drain(self) -> None:
    assert self.process.stderr is not None
    with self.process.stderr as noise:
      self.noise.extend(noise)

  def send(self, request: messages.Request) -> None:
    self.request = request
    assert self.process.stdin is not None
    try:
      self.process.stdin.write(messages.line(request))
    except BrokenPipeError:
      return  # its end arrives as an event, with the request still open

  def close(self) -> None:
    if self.process.stdin and not self.process.stdin.closed:
      with contextlib.suppress(BrokenPipeError):  # what it did not read is of no use to it any more
        self.process.stdin.close()


class Runner:
  """Keeps workers between batches of work, so that what they compiled is used again. Use as a context manager."""

  def __init__(self, store: Store, options: Options, progress: Progress):
    self.store, self.options, self.progress = store, options, progress
    self.workers: list[Worker] = []
    # Who said what; (None, None) wakes who waits for it. The one kind of queue that a signal's handler may write to.
    self.inbox: queue.SimpleQueue = queue.SimpleQueue()
    self.turns = Turns()
    self.backend: dict[str, Any] = {}
    self.signal: int = 0
    self.statuses: dict[str, str] = {}
    self.ran: set[str] = set()
    self.stale: set[str] = set()  # trials that other code made: kept with keep_stale, else run again
    self.crashes: dict[tuple[str, str], str] = {}  # by cohort and cause: the trial that failed first
    self.stopped: dict[str, str] = {}  # by cohort: why the rest of it does not run
    self._ended_with: Ended | None = None
    self._writing = self._writers()
    self._caught = contextlib.ExitStack()

  def __enter__(self) -> "Runner":
    self._caught.enter_context(caught(self._on_signal))
    return self

  def __exit__(self, kind, *exc) -> None:
    with self._caught:
      for worker in self.workers:
        worker.close()
        if (kind is not None and not self.signal) or (self.signal and not worker.request):
          worker.process.kill()  # nothing to wait for: what was not finished is made again
      for worker in self.workers:
        try:
          worker.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
          worker.process.kill()
    stamp.forget()
    if self._writing:
      self._writing.end()
    if self.signal and kind is None:  # it came when all was done
      raise Interrupted(self.signal)

  def _on_signal(self, number: int, _frame) -> None:
    if self.signal:  # asked twice: do not wait for the save
      for worker in self.workers:
        worker.process.kill()
      raise Interrupted(number)
    self.signal = number
    for worker in self.workers:
      worker.process.send_signal(signal.SIGTERM)
    self.inbox.put((None, None))

  def trials(self, points: Mapping[str, Mapping[str, Any]], ended: Ended | None = None) -> dict[str, dict[str, Any]]:
    """Results of these trials (key -> resolved config), running those that are not stored.

    What other code or data made is run again, or kept with "stale": True; either way it is told. `ended` gets results
    by key as they come, those that are stored first.
    """
    stored = self._stored(points)
    if damage := self.store.heal():
      self.progress.warn(damage)
    missing = {key: config for key, config in points.items() if key not in stored}
    ended = self._heard(points, ended)
    if ended:
      ended(stored)
    if missing:
      codes = {
        key: stamp.code(config)["code_sha256"] for key, config in missing.items()
      }  # before any worker imports it
      self._start(len(missing))
      requests = [self._request(pack, codes) for pack in packs(missing, self._width())]
      self.progress.plan(sum(config["train"]["steps"] for config in missing.values()))
      self._ended_with = ended
      try:
        self._work(requests)
      finally:
        self._ended_with = None
      self.ran |= set(missing)
    results = {key: stored[key] if key in stored else self.store.record(key) for key in points}
    self.statuses |= {key: result["status"] for key, result in results.items()}
    return results

  def _writers(self) -> "Writing | None":
    """Who gives trials to the writers asked for, if there are any."""
    if not self.options.writers:
      return None
    from experiments.run.writing import Writing

    return Writing(self.options.writers, self.store, self.progress.warn)

  def _heard(self, points: Mapping[str, Mapping[str, Any]], ended: Ended | None) -> Ended | None:
    """Who gets results as they come: whoever asked for the trials, then the writers."""
    writing = self._writing
    if writing is None:
      return ended

    def both(results: Mapping[str, dict[str, Any]]) -> None:
      if ended:
        ended(results)
      writing.take(points, results)

    return both

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
    """Runs functions (prefix, name) such as ("experiments.claims", "mech.checks.shape"); failures raise RuntimeError.

    `keep` gets a function's name and samples as soon as it has ended, so that nothing is lost by what comes later.
    """
    if names:
      self._start(len(names))
      self.progress.plan(sum(CALL_STEPS[prefix] for prefix, _ in names))
      self._work([messages.Call(prefix, name) for prefix, name in names], keep)

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

  def _width(self) -> int:
    return 1 if self.backend["device"] == "cpu" else VMAP_WIDTH

  def _request(self, pack: Pack, codes: Mapping[str, str]) -> messages.Train:
    configs = tuple(dict(config) for config in pack.configs)
    return messages.Train(pack.cohort, pack.keys, configs, tuple(codes[key] for key in pack.keys))

  def _start(self, tasks: int) -> None:
    """Starts workers up to the number of jobs; the first one tells which device there is."""
    if not self.backend:
      self.backend = dataclasses.asdict(self._first_word())
      self.turns.device = self.backend["device"]
    jobs = min(self._jobs(), tasks)
    while len(self.workers) < jobs:
      self._hire()

  def _hire(self) -> Worker:
    """One more worker; a signal that came while it was made reaches it too."""
    worker = Worker(self.store.root, self._core(len(self.workers)), self.options, self.inbox)
    self.workers.append(worker)
    if self.signal:
      worker.process.send_signal(signal.SIGTERM)
    return worker

  def _first_word(self) -> messages.Hello:
    """What the first worker says of its device; one that is lost before is replaced, twice."""
    for attempt in range(1, TRIES + 1):
      hired = self._hire()
      worker, event = self.inbox.get()
      while worker is not hired and not self.signal:  # an echo of one that is gone
        worker, event = self.inbox.get()
      if self.signal:
        raise Interrupted(self.signal)
      match event:
        case messages.Hello():
          return event
        case messages.Declined(text):
          raise Refused(text)
        case messages.Unreadable():
          raise event
      assert isinstance(event, Gone)  # the first word of a worker is its hello
      hired.close()
      self.workers.remove(hired)
      if attempt < TRIES:
        self.progress.warn(f"a worker did not start ({_ending(event.code)}); another one is tried")
    raise RuntimeError(f"no worker starts, {TRIES} were tried: {' '.join(hired.noise)[-500:] or _ending(event.code)}")

  def _jobs(self) -> int:
    if self.options.jobs:
      return self.options.jobs
    return compute.cores() if self.backend["device"] == "cpu" else 1

  def _core(self, index: int) -> int:
    cores = compute.core_numbers()
    jobs = self.options.jobs or len(cores)
    return cores[index % len(cores)] if 1 < jobs <= len(cores) else -1

  def _work(self, requests: Sequence[messages.Request], keep: Keep = lambda name, samples: None) -> None:
    """Serves all requests."""
    self.turns.add(requests)
    for cohort in self.stopped:
      self._give_up(cohort)
    for worker in self.workers:
      self._next(worker)
    while any(worker.request for worker in self.workers):
      worker, event = self.inbox.get()
      if worker is not None and worker in self.workers:
        self._handle(worker, event, keep)
    if self.signal:
      raise Interrupted(self.signal)

  def _handle(self, worker: Worker, event: Heard, keep: Keep) -> None:
    match event:
      case messages.Step(keys, step):
        self.progress.step(keys, step)
      case messages.Compiling(cohort):
        self.progress.note(f"compiling {cohort[:8]}")
      case messages.Warned(text):
        self.progress.warn(text)
      case messages.Declined(text):
        raise Refused(text)
      case messages.CallFailed(name, cause):
        raise RuntimeError(f"{name}: {cause}")
      case messages.Called(name, samples):
        keep(name, samples)
        self.progress.advance(CALL_STEPS[worker.request.prefix] if isinstance(worker.request, messages.Call) else 0)
        self._next(worker)
      case messages.Done() | messages.Failed():
        self._trained(worker, event)
      case messages.Dropped(cohorts):
        self.turns.forget(worker, cohorts)
      case messages.Hello():
        pass  # of a worker after the first one, whose device is known
      case Gone(code):
        self._ended(worker, code)
      case messages.Unreadable():
        raise event
      case _:
        assert_never(event)

  def _trained(self, worker: Worker, event: messages.Done | messages.Failed) -> None:
    """A pack has come to its end."""
    request = worker.request
    assert isinstance(request, messages.Train)
    if isinstance(event, messages.Done):
      remember(request.cohort, request.code[0])
    self.progress.done(event.keys, request.configs)
    if isinstance(event, messages.Failed):
      self._crashed(request, event.cause)
    self._next(worker)  # first: what is told takes time, which the worker need not wait for
    self._tell(request)

  def _ended(self, worker: Worker, code: int) -> None:
    """A worker is gone: asked to, or killed (by the system's memory guard, say). Its request is tried again."""
    lost, worker.request = worker.request, None
    if self.signal:
      return
    worker.close()
    self.workers.remove(worker)
    self.turns.drop(worker)
    if lost is None:
      return
    lost = dataclasses.replace(lost, tries=lost.tries + 1)
    if lost.tries < TRIES:
      again = f"its work is tried again ({lost.tries} of {TRIES - 1})"
      self.progress.warn(f"the worker ended with {_ending(code)}; {again}")
      self.turns.add([lost])
    elif isinstance(lost, messages.Call):
      raise RuntimeError(f"{lost.name}: the worker ended with {_ending(code)}: {' '.join(worker.noise)[-500:]}")
    else:
      self._record_loss(lost, f"the worker ended with {_ending(code)}")
    self._next(self._hire())

  def _record_loss(self, request: messages.Train, cause: str) -> None:
    for key, config in zip(request.keys, request.configs, strict=True):
      self.store.fail(key, config, cause)
    self.progress.done(request.keys, request.configs)
    self._tell(request)
    self._crashed(request, cause)

  def _crashed(self, request: messages.Train, cause: str) -> None:
    """Tells a cause once; the same one again in a cohort stops it: what waits of it would fail alike."""
    cohort, key = request.cohort, request.keys[0]
    if all(cause != known for _, known in self.crashes):
      self.progress.warn(f"a trial failed: {cause}{_own(request.configs[0])}")
    first = self.crashes.setdefault((cohort, cause), key)
    if first != key and cohort not in self.stopped:
      self.stopped[cohort] = f"not run: the same crash as trial {first}: {cause}"
      given_up = self._give_up(cohort)
      self.progress.warn(f"trial {key} failed like {first}; {given_up} that wait for the same program are not run")

  def _give_up(self, cohort: str) -> int:
    """Records the waiting trials of a cohort as failed, without running them; returns their number."""
    count = 0
    for request in self.turns.withdraw(cohort):
      assert isinstance(request, messages.Train)  # a call has no cohort
      for key, config in zip(request.keys, request.configs, strict=True):
        self.store.fail(key, config, self.stopped[cohort])
        count += 1
      self.progress.done(request.keys, request.configs)
      self._tell(request)
    return count

  def _tell(self, request: messages.Train) -> None:
    """Tells whoever asked for trials the results of those that a request brought."""
    if self._ended_with and not self.signal:
      self._ended_with({key: self.store.record(key) for key in request.keys})

  def _next(self, worker: Worker) -> None:
    """Hands over the next request, if there is one."""
    worker.request = None
    if worker not in self.workers:
      return
    request = None if self.signal else self.turns.take(worker)
    if request is not None:
      worker.send(request)


def _heard(line: str) -> messages.Request | messages.Event | messages.Unreadable:
  """What a worker's line says; one that is no message is told where messages are handled, not in this thread."""
  try:
    return messages.read(line)
  except messages.Unreadable as error:
    return error


def _told(changes: Mapping[str, list[str]], kept: bool) -> str:
  """One line on what other code made."""
  files = sorted({name for names in changes.values() for name in names})
  shown = ", ".join(files[:6]) + (f" and {len(files) - 6} more" if len(files) > 6 else "")
  trials = f"{len(changes)} trials were" if len(changes) > 1 else "1 trial was"
  done = "kept, marked stale" if kept else "run again (--keep_stale keeps what is stored)"
  return f"{trials} made by other code and {done}: {shown} changed"


def _own(config: Mapping[str, Any]) -> str:
  """How to try a class of the user's own that this config names; "" where it names none."""
  named = [str(value) for key, value in flatten(config).items() if key.endswith(".kind") and ".py:" in str(value)]
  return f"; `assay test {named[0]}` tries that class alone" if named else ""


def _ending(code: int) -> str:
  """What a worker's exit code says to the user."""
  hint = "killed, perhaps out of memory: use fewer --jobs" if code in (-9, 137) else "see crash.txt, if there is one"
  return f"code {code} ({hint})"
