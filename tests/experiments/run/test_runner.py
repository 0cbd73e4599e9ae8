"""Signals, lost workers and crashes, without training: the workers here are small scripts that speak the protocol."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments.run import runner as runners
from experiments.run import signals
from experiments.run.cohorts import cohort_key, trial_key
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.signals import Interrupted
from experiments.run.store import Store
from tests.train.tiny import tiny

WORKER = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from experiments.record import stamp
from experiments.run import messages
from experiments.run.store import Store
tell = lambda event: print(messages.line(event), end="", flush=True)
root, behaviour = Path(sys.argv[1]), json.loads(Path({plan!r}).read_text())
seen = root / "seen.txt"
def note(word):
  with seen.open("a") as file:
    file.write(word + "\\n")
  return sum(line == word for line in seen.read_text().splitlines())
if note("start") <= behaviour.get("dead starts", 0):
  os.kill(os.getpid(), 9)
time.sleep(behaviour.get("slow start", 0))
tell(messages.Hello("cpu", "pretended"))
for line in sys.stdin:
  request = messages.read(line)
  if isinstance(request, messages.Call):
    if note(request.name) <= behaviour.get("deaths", 0):
      os.kill(os.getpid(), 9)
    time.sleep(behaviour.get("slow", 0))
    tell(messages.Called(request.name, {{"x": [1.0]}}))
    continue
  (key,), (config,) = request.keys, request.configs
  if note(key) <= behaviour.get("deaths", 0):
    os.kill(os.getpid(), 9)
  cause = behaviour.get("causes", {{}}).get(str(config["seed"]))
  if cause:
    Store(root).fail(key, config, cause)
    tell(messages.Failed((key,), cause))
    continue
  result = {{"schema": 1, "status": "done", "cause": None, "steps": 8, "measures": {{"loss": 1.0}}, "seconds": 0.0}}
  result |= stamp.code(config)
  Store(root).begin(key, config, [])
  Store(root).finish(key, config, [], result)
  tell(messages.Done((key,)))
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
  """Makes the Runner start the script above instead of a worker; returns how to tell it what to do, and what it did."""
  script, plan = tmp_path / "worker.py", tmp_path / "plan-of-worker.json"
  script.write_text(WORKER.format(root=str(runners.Path(runners.__file__).parents[2]), plan=str(plan)))
  begin = subprocess.Popen

  def started(command, **options):
    assert command[:3] == [sys.executable, "-m", "experiments.worker.main"]
    return begin([sys.executable, str(script), *command[3:]], **options)

  monkeypatch.setattr(runners.subprocess, "Popen", started)
  plan.write_text("{}")

  def behave(**behaviour):
    plan.write_text(json.dumps({name.replace("_", " "): value for name, value in behaviour.items()}))

  def seen(word):
    path = tmp_path / "work" / "seen.txt"
    return path.read_text().splitlines().count(word) if path.exists() else 0

  (tmp_path / "work").mkdir()
  return behave, seen, tmp_path / "work"


def points(*seeds, **more):
  configs = [tiny(seed=seed, **more) for seed in seeds]
  return {trial_key(config, {}): config for config in configs}


def run(root, found, jobs=1):
  with Progress("test") as progress, Runner(Store(root), Options(jobs=jobs), progress) as runner:
    return runner.trials(found), runner


def test_a_worker_lost_at_its_start_is_replaced(pretended, capsys):
  behave, seen, root = pretended
  behave(dead_starts=2)
  results, _ = run(root, points(0))
  assert [result["status"] for result in results.values()] == ["done"]
  assert seen("start") == 3
  assert capsys.readouterr().err.count("did not start") == 2


def test_workers_that_never_start_are_told_after_three(pretended):
  behave, seen, root = pretended
  behave(dead_starts=99)
  with pytest.raises(RuntimeError, match="no worker starts, 3 were tried"):
    run(root, points(0))
  assert seen("start") == 3


@pytest.mark.parametrize(("deaths", "status"), [(1, "done"), (2, "done"), (3, "failed")])
def test_a_worker_lost_in_a_trial_is_tried_again_twice_and_then_recorded(deaths, status, pretended, capsys):
  behave, seen, root = pretended
  behave(deaths=deaths)
  results, runner = run(root, points(0))
  ((key, result),) = results.items()
  assert result["status"] == status
  assert seen(key) == min(deaths + 1, 3)
  assert runner.counts["failed"] == (status == "failed")
  assert capsys.readouterr().err.count("is tried again") == min(deaths, 2)
  behave()
  assert [result["status"] for result in run(root, points(0))[0].values()] == ["done"]  # the next command tries again


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_call_whose_worker_is_lost_is_tried_again_twice(deaths, pretended):
  behave, seen, root = pretended
  behave(deaths=deaths)
  kept = {}
  with Progress("test") as progress, Runner(Store(root), Options(jobs=1), progress) as runner:
    if deaths < 3:
      runner.calls([("experiments.claims", "a.b")], kept.__setitem__)
    else:
      with pytest.raises(RuntimeError, match=r"a.b: the worker ended with code -9"):
        runner.calls([("experiments.claims", "a.b")], kept.__setitem__)
  assert kept == ({"a.b": {"x": [1.0]}} if deaths < 3 else {})
  assert seen("a.b") == 3


def test_the_first_identical_crash_stops_the_arm_and_no_other(pretended, capsys):
  behave, seen, root = pretended
  behave(causes={str(seed): "ValueError: boom (mine.py:7)" for seed in range(20)})
  arm, other = points(*range(20)), points(*range(100, 104), model__width=4)
  results, runner = run(root, arm | other)
  assert sum(seen(key) for key in arm) == 2
  failed = [results[key] for key in arm]
  assert all(result["status"] == "failed" for result in failed)
  assert all("ValueError: boom (mine.py:7)" in result["cause"] for result in failed)
  first = next(iter(arm))
  assert sum(result["cause"].startswith(f"not run: the same crash as trial {first}: ") for result in failed) == 18
  assert all(results[key]["status"] == "done" for key in other)
  assert runner.counts["failed"] == 20
  assert capsys.readouterr().err.count("boom") == 1
  with Progress("test") as progress, Runner(Store(root), Options(jobs=1), progress) as runner:
    runner.trials(arm)
    more = points(*range(20, 25))
    assert all(result["status"] == "failed" for result in runner.trials(more).values())
    assert sum(seen(key) for key in more) == 0  # the arm goes on being stopped within a command
  assert sum(seen(key) for key in arm) == 4  # and is tried anew by the next


def test_a_crash_with_a_class_of_ones_own_says_how_to_try_it(pretended, capsys):
  behave, _, root = pretended
  behave(causes={"0": "ValueError: boom"})
  root.parent.joinpath("mine.py").write_text("class Mine:\n  pass\n")
  kind = f"{root.parent}/mine.py:Mine"
  own = {key: _with_kind(config, kind) for key, config in points(0).items()}
  run(root, own)
  assert f"boom; `assay test {kind}` tries that class alone" in " ".join(capsys.readouterr().err.split())


def _with_kind(config, kind):
  attention = {**config["model"]["attention"], "kind": kind}
  return {**config, "model": {**config["model"], "attention": attention}}


def test_different_crashes_stop_nothing(pretended):
  behave, seen, root = pretended
  behave(causes={str(seed): f"ValueError: {seed}" for seed in range(4)})
  arm = points(*range(6))
  results, _ = run(root, arm)
  assert [result["status"] for result in results.values()] == ["failed"] * 4 + ["done"] * 2
  assert all(seen(key) == 1 for key in arm)


def test_a_damaged_trial_is_set_aside_and_runs_again_alone(pretended, capsys):
  _, seen, root = pretended
  arm = points(0, 1, 2)
  run(root, arm)
  first, second, _ = arm
  path = Store(root).trial(first) / "result.json"
  path.write_text(path.read_text().replace('"loss":1.0', '"loss":0.5'))
  (Store(root).trial(second) / "metrics.jsonl").unlink()
  results, runner = run(root, arm)
  assert [seen(key) for key in arm] == [2, 2, 1]
  assert all(result["measures"] == {"loss": 1.0} for result in results.values())
  told = [line for line in capsys.readouterr().err.splitlines() if line]
  assert len(told) == 1
  assert "damaged; they will run again" in told[0]
  assert "metrics.jsonl is missing" in told[0]
  assert runner.counts["ran"] == 2


def sent_when(root, number, ready, again=False):
  """Sends this process a signal as soon as `ready()`; returns the thread."""

  def wait():
    while not ready():
      time.sleep(0.01)
    os.kill(os.getpid(), number)
    if again:
      time.sleep(0.3)
      os.kill(os.getpid(), number)

  thread = threading.Thread(target=wait, daemon=True)
  thread.start()
  return thread


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("moment", ["starts", "works"])
def test_a_signal_ends_the_command_with_its_code(moment, name, code, pretended):
  behave, seen, root = pretended
  behave(**({"slow_start": 60} if moment == "starts" else {"slow": 60}))
  number, began = getattr(signal, name), time.monotonic()
  before = signal.getsignal(number)
  thread = sent_when(root, number, lambda: seen("start" if moment == "starts" else "a.b"))
  with (
    pytest.raises(Interrupted) as told,
    Progress("test") as progress,
    Runner(Store(root), Options(jobs=1), progress) as runner,
  ):
    runner.calls([("experiments.claims", "a.b")], lambda name, samples: None)
  thread.join()
  assert told.value.code == code
  assert time.monotonic() - began < 50  # it waited for nothing
  assert signal.getsignal(number) == before
  assert not (root / "crash.txt").exists()
  assert all(worker.process.poll() is not None for worker in runner.workers)


def test_a_signal_after_the_last_result_still_ends_the_command(pretended):
  _, _, root = pretended

  def command():
    with Progress("test") as progress, Runner(Store(root), Options(jobs=1), progress) as runner:
      runner.trials(points(0))
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(0.05)

  with pytest.raises(Interrupted) as told:
    command()
  assert told.value.code == 143


def test_a_second_signal_leaves_at_once(pretended):
  behave, seen, root = pretended
  behave(slow=60)
  deaf = 'signal.signal(signal.SIGTERM, lambda *_: None)\nif note("start")'
  script = root.parent / "worker.py"
  script.write_text(script.read_text().replace('if note("start")', deaf))
  began = time.monotonic()
  thread = sent_when(root, signal.SIGINT, lambda: seen("a.b"), again=True)
  with (
    pytest.raises(Interrupted),
    Progress("test") as progress,
    Runner(Store(root), Options(jobs=1), progress) as runner,
  ):
    runner.calls([("experiments.claims", "a.b")], lambda name, samples: None)
  thread.join()
  assert time.monotonic() - began < 50


def test_a_hangup_that_was_ignored_stays_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with signals.caught():
      os.kill(os.getpid(), signal.SIGHUP)
      assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_caught():
  before, done = signal.getsignal(signal.SIGTERM), []

  def block():
    with signals.caught():
      done.append(signal.getsignal(signal.SIGTERM) == before)

  thread = threading.Thread(target=block)
  thread.start()
  thread.join()
  assert done == [True]


def test_trials_of_one_arm_share_a_program():
  """What the tests of crashes rely on."""
  assert len({cohort_key(config) for config in points(*range(3)).values()}) == 1
  assert cohort_key(tiny()) != cohort_key(tiny(model__width=4))
