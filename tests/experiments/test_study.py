"""The protocol with made-up results: equal budget, fresh seeds, rates by tuning seeds alone, growth of the grid."""

import math

import pytest

from experiments import study
from experiments.claim import Study
from tests.train.tiny import TINY


class Fake:
  """A runner whose results come from a function of the config; it remembers what it was asked."""

  def __init__(self, measure):
    self.measure, self.asked = measure, []

  def expect(self, steps):
    self.asked_later = steps

  def trials(self, points):
    self.asked += list(points.values())
    return {
      key: {"status": "done", "cause": None, "measures": self.measure(config), "code_sha256": "", "seconds": 0.0}
      for key, config in points.items()
    }


def plan(**more):
  arms = {"one": {"model.heads": 1}, "two": {"model.heads": 2}}
  settings = {"name": "s", "card": "recall", "arms": arms, "metric": "auc", "tiers": {"quick": TINY}}
  return Study(**{**settings, "grid": (1e-3, 1e-2, 1e-1), "tuning": (0, 1, 2), "reporting": (100, 101), **more})


def peak_at(best):
  return lambda config: {"auc": 1 - abs(math.log10(config["optim"]["lr"] / best(config))), "initial_loss": 3.0}


def test_every_arm_gets_its_best_rate_and_equal_budget():
  fake = Fake(peak_at(lambda c: 1e-2 if c["model"]["heads"] == 1 else 1.1e-2))
  done = study.run([(plan(), "quick")], fake)[0]
  assert [arm.lr for arm in done.arms.values()] == [1e-2, 1e-2]
  assert not any(arm.on_edge for arm in done.arms.values())
  tuning = [c for c in fake.asked if c["eval"]["split"] == "validation"]
  report = [c for c in fake.asked if c["eval"]["split"] == "test"]
  assert {c["seed"] for c in tuning} == {0, 1, 2}
  assert {c["seed"] for c in report} == {100, 101}
  assert (
    len([c for c in tuning if c["model"]["heads"] == 1]) == len([c for c in tuning if c["model"]["heads"] == 2]) == 9
  )


def test_a_best_rate_on_the_edge_grows_the_grid_for_all_arms_until_it_lies_inside():
  fake = Fake(peak_at(lambda c: 0.3 if c["model"]["heads"] == 1 else 1e-2))
  done = study.run([(plan(), "quick")], fake)[0]
  for arm in done.arms.values():
    assert [lr for lr, _ in arm.tuning] == pytest.approx([1e-3, 1e-2, 1e-1, 0.3, 0.9])
  assert (done.arms["one"].lr, done.arms["one"].on_edge) == (pytest.approx(0.3), False)
  assert (done.arms["two"].lr, done.arms["two"].on_edge) == (1e-2, False)


def test_a_rate_beyond_all_growth_is_reported_as_on_the_edge():
  done = study.run([(plan(), "quick")], Fake(peak_at(lambda c: 1e6)))[0]
  assert all(arm.on_edge and arm.lr == pytest.approx(0.1 * study.GROWTH**study.GROWTHS) for arm in done.arms.values())


def test_ties_go_to_the_smaller_rate_and_nan_never_wins():
  fake = Fake(lambda c: {"auc": math.nan if c["optim"]["lr"] > 5e-2 else 0.5, "initial_loss": 3.0})
  assert study.run([(plan(), "quick")], fake)[0].arms["one"].lr in (1e-3, pytest.approx(1e-3 / 3))


def test_a_run_without_a_finite_number_counts_as_the_worst():
  broken = {"measures": {"auc": math.nan, "loss": math.inf, "initial_loss": 2.5}}
  assert study.finite(broken, "auc", "max") == 0.0
  assert study.finite(broken, "loss", "min") == 2.5


def test_probes_and_decoding_belong_to_reporting_trials():
  chosen = plan(probes=("entropy",), tiers={"quick": TINY | {"eval.judge": True}})
  tuning, report = (study.point(chosen, "quick", "one", lr=1e-2, seed=0, split=s) for s in ("validation", "test"))
  assert (tuning["probes"], tuning["eval"]["judge"]) == ([], False)
  assert (report["probes"], report["eval"]["judge"]) == (["entropy"], True)


def test_lean_arms_run_at_quick_only():
  chosen = plan(lean=("one",), tiers={"quick": TINY, "small": TINY})
  fake = Fake(peak_at(lambda c: 1e-2))
  found = study.run([(chosen, "quick"), (chosen, "small")], fake)
  assert [list(done.arms) for done in found] == [["one"], ["one", "two"]]


def test_samples_by_arm_and_by_measure():
  fake = Fake(lambda c: {"auc": c["seed"] / 1000, "loss": 1.0, "initial_loss": 3.0})
  done = study.run([(plan(), "quick")], fake)[0]
  assert done.samples(["one", "two:loss"]) == {"one": [0.1, 0.101], "two:loss": [1.0, 1.0]}
