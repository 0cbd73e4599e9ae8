"""The arithmetic of a dry run's estimate: starts, compiles and steps are counted; no time is measured here."""

import pytest

from experiments.protocol import estimate
from experiments.protocol.estimate import Parts
from experiments.record import stamp
from experiments.run import cohorts
from experiments.run.cohorts import trial_key
from experiments.run.store import Store
from tests.train.tiny import tiny


def test_a_start_stands_before_everything_and_nothing_takes_no_time():
  assert estimate.lasting(Parts(), 0, 2) == 0.0
  assert estimate.lasting(Parts(), 1, 2) == estimate.START
  assert estimate.lasting(Parts(), 1, 2, slower=3.0) == 3 * estimate.START


def test_workers_share_trials_and_cohorts_but_not_one_compile():
  shared = estimate.lasting(Parts(shared=100.0, compiles=20.0, longest=5.0), 50, 2)
  assert shared == pytest.approx(estimate.START + 50 + 10)
  one = estimate.lasting(Parts(shared=100.0, compiles=8.0, longest=8.0), 50, 4)
  assert one == pytest.approx(estimate.START + 25 + 8)  # each of the four compiles it
  assert estimate.lasting(Parts(alone=30.0), 1, 4) == pytest.approx(estimate.START + 30)  # benches run alone
  assert estimate.lasting(Parts(shared=10.0), 1, 8) == pytest.approx(estimate.START + 10)  # one task, one worker


def test_parts_add_up_and_keep_the_longest_compile():
  assert estimate.added([Parts(1, 4, 4, 0), Parts(2, 6, 3, 5)]) == Parts(3, 10, 4, 5)


def test_a_trial_costs_by_steps_evaluations_and_flops():
  brief, long = tiny(), tiny(train__steps=16)
  small = estimate.training(brief, 0.0)
  assert estimate.training(long, 0.0) - estimate.TRIAL == pytest.approx(2 * (small - estimate.TRIAL), rel=0.2)
  assert estimate.training(brief, estimate.FLOPS) > small + 8  # eight steps of a second each, and the evaluations
  seldom = tiny(eval__every=8)
  assert estimate.training(seldom, 1e9) < estimate.training(brief, 1e9)


def test_what_the_cache_holds_is_loaded():
  config = tiny()
  assert estimate.compiling(config, kept=True) == pytest.approx(estimate.KEPT * estimate.compiling(config))
  deep = {**config, "model": {**config["model"], "depth": 4}}
  assert estimate.compiling(deep) > estimate.compiling(config)


def test_programs_are_remembered_with_the_cache_that_holds_them(tmp_path, monkeypatch):
  monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
  cohorts.remember("cohort", "code")
  assert not cohorts.kept("cohort", "code")  # there is no cache yet
  (tmp_path / "xla").mkdir()
  cohorts.remember("cohort", "code")
  assert cohorts.kept("cohort", "code")
  assert not cohorts.kept("cohort", "other code")


def test_a_stored_trial_is_there_until_its_code_or_its_bytes_are_others(tmp_path, monkeypatch):
  one, other = tiny(), tiny(seed=1)
  key = trial_key(one, {})
  assert one not in estimate.Held(tmp_path)
  done = {"schema": 1, "status": "done", "cause": None, "measures": {}, **stamp.code(one)}
  store = Store(tmp_path)
  store.begin(key, one, [])
  store.finish(key, one, [], done)
  assert one in estimate.Held(tmp_path)
  assert other not in estimate.Held(tmp_path)
  with monkeypatch.context() as small:
    small.setattr(stamp, "changed", lambda config, result: ["model/heads.py"])
    assert one not in estimate.Held(tmp_path)
    assert one in estimate.Held(tmp_path, keep_stale=True)
  result = tmp_path / "trials" / key / "result.json"
  result.write_text(result.read_text().replace("done", "gone"))
  assert one not in estimate.Held(tmp_path)
