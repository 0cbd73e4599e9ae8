"""A checkpoint that cannot be used, or that other code made, is given up in one line, and the trial starts again."""

import pytest

from experiments.record import atomic
from experiments.run.cohorts import Pack, cohort_key, trial_key
from experiments.run.store import Store
from experiments.worker import pack
from tests.train.tiny import tiny

CONFIG = tiny()
KEY = trial_key(CONFIG, {})
ONE = Pack(cohort_key(CONFIG), (KEY,), (CONFIG,))


@pytest.fixture(scope="module")
def cohort():
  return pack.prepare(CONFIG)


def run(root, cohort, code="a", stop=lambda: False):
  """Whether the pack ended, the steps that were run, and what was told."""
  steps, told = [], []
  stamp = lambda config: {"code_sha256": code, "data_sha256": {}}  # noqa: E731
  ended = pack.run(Store(root), ONE, cohort, stamp=stamp, stop=stop, progress=steps.append, warn=told.append)
  return ended, steps, told


def stopped(root, cohort):
  """A run that saved at half its way."""
  turns = iter((False, True))
  ended, steps, told = run(root, cohort, stop=lambda: next(turns))
  assert (ended, told) == (False, [])
  return steps


def test_the_same_code_goes_on_where_it_stopped(tmp_path, cohort):
  calm = run(tmp_path / "calm", cohort)
  half = stopped(tmp_path / "work", cohort)
  assert half
  assert half + run(tmp_path / "work", cohort)[1] == calm[1]
  assert Store(tmp_path / "work").curve(KEY) == Store(tmp_path / "calm").curve(KEY)


def other_code(folder):
  return "b"


def flipped(folder):
  for path in folder.rglob("manifest.json"):
    path.write_bytes(path.read_bytes()[:-2])
  return "a"


@pytest.mark.parametrize(("spoil", "said"), [(other_code, "made by other code"), (flipped, "manifest.json")])
def test_what_cannot_go_on_starts_again(spoil, said, tmp_path, cohort):
  stopped(tmp_path, cohort)
  code = spoil(Store(tmp_path).cohort(ONE.key) / "checkpoints")
  ended, steps, told = run(tmp_path, cohort, code)
  assert ended
  assert steps == [2, 4, 6, 8]
  (line,) = told
  assert said in line
  assert line.endswith("it will run again")
  assert "delete" not in line


def test_a_save_that_never_ended_is_no_checkpoint(tmp_path, cohort):
  (Store(tmp_path).cohort(ONE.key) / "checkpoints" / ".saving-4").mkdir(parents=True)
  assert run(tmp_path, cohort) == (True, [2, 4, 6, 8], [])


def test_a_result_answers_for_its_trial_its_config_and_its_curve(tmp_path, cohort):
  run(tmp_path, cohort)
  record = Store(tmp_path).record(KEY)
  folder = Store(tmp_path).trial(KEY)
  assert record["trial"] == KEY == trial_key(Store(tmp_path).config(KEY), record["data_sha256"])
  assert record["files"] == {
    name: atomic.sha256((folder / name).read_bytes()) for name in ("config.json", "metrics.jsonl")
  }
