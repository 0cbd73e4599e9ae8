"""kill -9, Ctrl-C, a second launch, a full disk: what was done stays done, and the end is the same."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from experiments.cli import cli
from experiments.run import messages
from tests.experiments.process import (
  CLAIM,
  ROOT,
  SWEEP,
  assay,
  command,
  environment,
  fingerprint,
  killed_after,
  started,
)


def reproduce(folder):
  (folder / "mine.py").write_text(CLAIM)
  return ["reproduce", folder / "mine.py", f"--workdir={folder / 'work'}", "--jobs=2", "--json"]


def sweep(folder):
  return ["sweep", *SWEEP, "--seeds=3", f"--workdir={folder / 'work'}", "--jobs=2", "--json"]


def survives(make, tmp_path, kills, seed, calm_runs=2):
  """Kills the command at random moments; whenever it comes to its end all the same, the end must be the calm one's.

  A run that has nothing left to lose cannot be killed: then a new folder is harried, until all kills have hit.
  """
  ends = []
  for number in range(calm_runs):  # the second has nothing to compile, as those to be killed
    calm = tmp_path / f"calm-{number}"
    calm.mkdir()
    began = time.monotonic()
    done = assay(*make(calm))
    whole = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    ends.append(fingerprint(calm / "work"))
  expected, chance, hits = ends[0], random.Random(seed), 0
  assert all(end == expected for end in ends)
  for attempt in range(10 * kills):
    harried = tmp_path / f"harried-{attempt}"
    harried.mkdir()
    while hits < kills:
      began = time.monotonic()
      if not killed_after(chance.uniform(0.2, whole), *make(harried)):
        whole = min(whole, time.monotonic() - began)  # it had nothing to compile
        break
      hits += 1
    done = assay(*make(harried))
    assert done.returncode == 0, done.stderr
    assert fingerprint(harried / "work") == expected
    if hits == kills:
      return
  pytest.fail(f"only {hits} kills of {kills} hit a running command")


def test_reproduce_survives_a_kill(tmp_path):
  survives(reproduce, tmp_path, kills=1, seed=0, calm_runs=1)


@pytest.mark.slow
def test_reproduce_survives_twelve_kills(tmp_path):
  survives(reproduce, tmp_path, kills=12, seed=1)


@pytest.mark.slow
def test_sweep_survives_twelve_kills(tmp_path):
  survives(sweep, tmp_path, kills=12, seed=2)


def signalled(number, seconds, *args):
  """Sends the command a signal after so long; its exit code, None when it had ended before."""
  process = started(*args)
  try:
    _, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return None
  except subprocess.TimeoutExpired:
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
  if process.returncode:  # else it was about to end
    assert "Traceback" not in err or process.returncode == -number, err  # Python itself was not there yet
  return process.returncode


def ends_alike(tmp_path, signals, seed, early):
  """Signals at random moments, the first `early` while workers start: right codes, and the calm run's results."""
  chance = random.Random(seed)
  (tmp_path / "calm").mkdir()
  assert assay(*sweep(tmp_path / "calm")).returncode == 0
  began = time.monotonic()
  (tmp_path / "again").mkdir()
  assert assay(*sweep(tmp_path / "again")).returncode == 0
  whole, expected = time.monotonic() - began, fingerprint(tmp_path / "calm" / "work")
  hits, folder, root = 0, 0, tmp_path
  while hits < signals:
    root = tmp_path / f"harried-{folder}"
    root.mkdir(exist_ok=True)
    number = chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    moment = chance.uniform(0.1, 0.5) if hits < early else chance.uniform(0.1, 1.0)
    code = signalled(number, moment * whole, *sweep(root))
    assert code in (None, 0, 128 + number, -number)
    assert not (root / "work" / "crash.txt").exists()
    hits += bool(code)
    if not code:  # nothing is left to be lost there
      assert fingerprint(root / "work") == expected
      folder += 1
  assert assay(*sweep(root)).returncode == 0
  assert fingerprint(root / "work") == expected
  assert assay("check", root / "work").returncode == 0


def test_a_signal_while_workers_start_has_its_code_and_no_crash_file(tmp_path):
  process = started(*sweep(tmp_path))
  assert wait_for(tmp_path / "work" / "plan.json")
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 130, err
  assert len(err.strip().splitlines()) == 1
  assert not (tmp_path / "work" / "crash.txt").exists()


@pytest.mark.slow
def test_thirty_signals_have_their_codes_and_change_nothing(tmp_path):
  ends_alike(tmp_path, signals=30, seed=3, early=10)


def test_what_was_damaged_runs_again_and_alone(tmp_path):
  """The real command: an edited digit, exchanged curves, a cut page and a lost plan; the end is the same."""
  args = ["sweep", *SWEEP, "--seeds=2", f"--workdir={tmp_path / 'work'}", "--jobs=1", "--json"]
  assert assay(*args).returncode == 0
  work = tmp_path / "work"
  expected, page = fingerprint(work), (work / "report.html").read_bytes()
  first, second, third, *_ = sorted((work / "trials").iterdir())
  result = json.loads((first / "result.json").read_text())
  (first / "result.json").write_text(json.dumps({**result, "steps": result["steps"] + 1}))
  (second / "metrics.jsonl").rename(tmp_path / "between")
  (third / "metrics.jsonl").rename(second / "metrics.jsonl")
  (tmp_path / "between").rename(third / "metrics.jsonl")
  (work / "report.html").write_bytes(page[:-100])
  (work / "plan.json").write_text("{")
  assert cli.main(["check", str(work)]) == 4
  done = assay(*args)
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout)["trials"]["ran"] == 3
  assert done.stderr.count("damaged; they will run again") == 1
  assert fingerprint(work) == expected
  assert cli.main(["check", str(work)]) == 0


def wait_for(path, seconds=120):
  end = time.monotonic() + seconds
  while not path.exists() and time.monotonic() < end:
    time.sleep(0.05)
  return path.exists()


@pytest.mark.parametrize(
  ("number", "code"),
  [
    (signal.SIGINT, 130),
    pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
  ],
)
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number, code):
  long = [*SWEEP[:-2], "--config.train.steps=40000", "--config.eval.every=100"]
  args = ["train", *long, f"--workdir={tmp_path / 'work'}", "--json"]
  process = started(*args)
  trials = tmp_path / "work" / "trials"
  assert wait_for(trials)
  metrics = next(trials.iterdir()) / "metrics.jsonl"
  while process.poll() is None and len(metrics.read_text().splitlines() if metrics.exists() else ()) < 3:
    time.sleep(0.05)
  process.send_signal(number)
  _, err = process.communicate(timeout=60)
  assert process.returncode == code, err
  assert "run the same command again" in err
  assert not (metrics.parent / "result.json").exists()
  saved = sorted((tmp_path / "work" / "cohorts").glob("*/checkpoints/*"))
  assert saved
  step = max(int(path.name) for path in saved if path.name.isdigit())
  kept = metrics.read_text().splitlines()
  # Resume, watch it start from the checkpoint's rows, and stop it again.
  process = started(*args)
  rows = 0
  while process.poll() is None and rows <= step // 100 + 1:
    time.sleep(0.05)
    rows = len(metrics.read_text().splitlines())
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  again = metrics.read_text().splitlines()
  common = min(len(kept), len(again))
  assert again[:common] == kept[:common]
  assert json.loads(again[-1])["step"] > step


def test_a_check_or_a_bench_stops_at_once(tmp_path):
  """It has nothing to save; one that ran on would keep the command, and the folder's lock, for minutes."""
  (tmp_path / "outer").mkdir()
  endless = "import time\ndef run():\n  open('begun', 'w').close()\n  time.sleep(600)\n"
  (tmp_path / "outer" / "endless.py").write_text(endless)
  worker = subprocess.Popen(
    [sys.executable, "-m", "experiments.worker.main", str(tmp_path), "-1", "drop", ""],
    cwd=tmp_path,
    env=environment(PYTHONPATH=f"{ROOT}:{tmp_path}"),
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )
  worker.stdin.write(messages.line(messages.Call("outer", "endless.run")))
  worker.stdin.flush()
  assert wait_for(tmp_path / "begun")
  worker.send_signal(signal.SIGTERM)
  assert worker.wait(timeout=60) == 143


def test_a_second_launch_is_refused_while_the_first_runs(tmp_path):
  long = [*SWEEP[:-2], "--config.train.steps=40000", "--config.eval.every=100"]
  args = ["train", *long, f"--workdir={tmp_path / 'work'}"]
  first = started(*args)
  assert wait_for(tmp_path / "work" / "plan.json")
  second = assay(*args)
  first.kill()
  first.communicate()
  assert second.returncode == 2
  assert "in use by a running command" in second.stderr
  assert len(second.stderr.strip().splitlines()) == 1


SMALL_FILES = """
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with an error, as on a full disk
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
  args = [sys.executable, "-c", SMALL_FILES, *command("train", *SWEEP[:-2], f"--workdir={tmp_path / 'work'}")]
  done = subprocess.run(args, env=environment(), capture_output=True, text=True, check=False, timeout=300)
  assert done.returncode in (2, 3), done.stderr
  assert "Traceback" not in done.stderr
  after = assay("train", *SWEEP[:-2], f"--workdir={tmp_path / 'work'}")
  assert after.returncode == 0, after.stderr
