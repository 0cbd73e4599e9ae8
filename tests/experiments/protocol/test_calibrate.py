"""Calibration: its trainings are a worker's, no seed is shared, and it sees a rule that is wrong."""

import math

import pytest

from configs import override
from experiments.claims import known_arms
from experiments.protocol import calibrate, calibration, study
from experiments.run.cohorts import packs
from experiments.run.store import Store
from experiments.worker import pack
from experiments.worker import serve as work


def test_a_training_is_the_one_that_a_worker_would_make(tmp_path):
  plan = known_arms._plan(3, "twin", 2.0)
  config = study.point(plan, known_arms.TIER, "twin", lr=1e-2, seed=7, split="test")
  ours = known_arms.Laboratory(members=2).trials({"key": config})["key"]
  store, one = Store(tmp_path), packs({"key": config}, 1)[0]
  assert pack.run(store, one, pack.prepare(config), stamp=lambda config: {})
  theirs = store.result("key")
  assert ours["status"] == theirs["status"]
  for name, value in theirs["measures"].items():
    assert ours["measures"][name] == pytest.approx(value, rel=1e-4), name


def test_no_two_arms_of_any_comparison_share_a_seed():
  seen = set()
  for number in range(50):
    for arm in ("dot", "twin"):
      plan = known_arms._plan(number, arm, 1.0)
      mine = {*plan.tuning, *study.seeds(plan, 48)}
      assert len(mine) == 51
      assert not mine & seen
      seen |= mine


def test_equal_arms_are_equal_and_a_twin_differs_in_its_scale_alone():
  def config(arm, times):
    plan = known_arms._plan(0, arm, times)
    return override.resolve(override.load(plan.card, dict(plan.arms[arm])))

  assert config("dot", 1.0) == config("twin", 1.0)
  other = config("twin", 3.0)
  assert other["model"]["attention"].pop("scale") == pytest.approx(3 * known_arms.SCALE)
  same = config("dot", 3.0)
  assert same["model"]["attention"].pop("scale") == pytest.approx(known_arms.SCALE)
  assert other == same


def test_a_call_with_arguments_reaches_its_function(monkeypatch):
  monkeypatch.setattr(known_arms, "MEMBERS", 12)
  found = work.call("known_arms.comparisons(first=0, count=1, times=9.0)", "experiments.claims")
  assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
    ("above", "below", "sure", "look", "effect", "spread", "one_rate"), 1
  )
  assert found["effect"][0] > 0  # a twin of nine times the scale is plainly worse


class Fake:
  """A runner whose comparisons come from functions of their number and factor."""

  def __init__(self, tmp_path, size, hit):
    self.backend = {}
    self.store, self.size, self.hit = Store(tmp_path), size, hit

  def calls(self, names, keep):
    for _, name in names:
      given = eval("dict" + name.removeprefix(calibrate.FUNCTION))
      numbers = range(given["first"], given["first"] + given["count"])
      above = [float(self.hit(number, given["times"])) for number in numbers]
      size = self.size(given["times"])
      rest = {"below": [0.0] * len(above), "look": [1.0] * len(above), "one_rate": [1.0] * len(above)}
      keep(name, {"above": above, "effect": [size] * len(above), "spread": [1.0] * len(above), **rest})


@pytest.mark.parametrize(("every", "passed"), [(20, True), (12, False)])
def test_a_level_that_is_not_kept_is_told(tmp_path, every, passed):
  """One hit in 20 is what chance allows at .05, one in 12 is not."""
  runner = Fake(tmp_path, lambda times: math.log(times), lambda number, times: times > 1 or number % every == 0)
  document = calibrate.run(1000, runner)
  assert document["passed"] is passed
  assert document["null"]["allowed"] == 64
  assert ("is kept" if passed else "NOT kept") in calibration.told(document)[0]


def test_handicaps_are_read_off_the_pilot(tmp_path):
  runner = Fake(tmp_path, lambda times: math.log(times) / math.log(2.5), lambda number, times: times > 2)
  document = calibrate.run(30, runner)
  for entry in document["power"]:
    assert entry["effect"] == pytest.approx(entry["target"], rel=1e-3)
    assert entry["comparisons"] == 10


def test_another_rule_makes_a_calibration_stale(tmp_path, monkeypatch):
  document = calibrate.run(3, Fake(tmp_path, math.log, lambda number, times: False))
  calibration.write(tmp_path / "calibration.json", document)
  assert not calibration.stale(calibration.read(tmp_path / "calibration.json"))
  monkeypatch.setattr(calibration, "RULES", calibration.RULES[:-1])
  assert calibration.stale(document)
