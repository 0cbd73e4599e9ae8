"""The protocol with made-up results: equal budget, fresh seeds, rates by tuning seeds alone, growth of the grid."""

import math

import pytest

from experiments.protocol import study
from experiments.protocol.claim import Study
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
  numbers = {"auc": math.nan, "loss": math.inf, "initial_loss": 2.5, "t90": math.inf, "t90_restricted": 300.0}
  numbers |= {"accuracy/hard": math.nan, "probe.entropy.entropy": math.nan, "grad_norm": math.nan}
  broken = {"status": "diverged", "measures": numbers}
  assert study.finite(broken, "auc") == 0.0
  assert study.finite(broken, "loss") == 2.5  # also where the study's own metric is better when larger
  assert study.finite(broken, "t90") == 300.0  # never arriving is no time of 2.5 steps
  assert study.finite(broken, "wer") == 1.0  # not decoded: nothing was said right
  for name in ("accuracy/hard", "probe.entropy.entropy", "grad_norm", "bleu"):
    assert math.isnan(study.finite(broken, name))  # nothing can stand for it


@pytest.mark.parametrize(("status", "measure"), [("done", "acuracy"), ("done", "wer"), ("diverged", "probe.x.y")])
def test_a_number_that_was_not_measured_is_never_invented(status, measure):
  with pytest.raises(study.Unanswered, match=measure):
    study.finite({"status": status, "measures": {"auc": 0.5, "initial_loss": 3.0}}, measure)


FAILED = {
  "status": "failed",
  "cause": "TypeError: no (mine.py, line 7)",
  "measures": {},
  "code_sha256": "",
  "seconds": 0,
}


class Crashing(Fake):
  """Trials that `crash` picks fail."""

  def __init__(self, measure, crash):
    super().__init__(measure)
    self.crash = crash

  def trials(self, points):
    return {key: FAILED if self.crash(points[key]) else result for key, result in super().trials(points).items()}


def test_a_failed_trial_is_no_score():
  """Three of twelve, of one arm: it has no numbers, and says why; the other arm keeps its own."""
  crash = lambda c: c["model"]["heads"] == 2 and c["seed"] in (100, 101, 102)  # noqa: E731
  done = study.run([(plan(reporting=tuple(range(100, 112))), "quick")], Crashing(peak_at(lambda c: 1e-2), crash))[0]
  said = "3 of 12 trials of arm 'two' failed: TypeError: no (mine.py, line 7)"
  assert done.faults(["one", "two", "two:loss"]) == [said]
  assert done.samples(["one"]) == {"one": [1.0] * 12}
  with pytest.raises(study.Unanswered, match="3 of 12"):
    done.samples(["two"])


def test_an_arm_whose_tuning_failed_has_no_rate_and_no_reporting_trials():
  crash = lambda c: c["model"]["heads"] == 2 and c["optim"]["lr"] == 1e-1 and c["seed"] == 1  # noqa: E731
  fake = Crashing(peak_at(lambda c: 1e-2), crash)
  done = study.run([(plan(window=(1e-3,)), "quick")], fake)[0]
  assert (done.arms["one"].lr, done.arms["two"].lr, done.arms["two"].results) == (1e-2, None, ())
  assert done.arms["two"].untuned == ((1e-1, 1, "failed: TypeError: no (mine.py, line 7)"),)
  assert not [c for c in fake.asked if c["model"]["heads"] == 2 and c["eval"]["split"] == "test"]
  assert done.faults(["two", "two:window"]) == [
    "1 of 9 tuning trials of arm 'two' failed: TypeError: no (mine.py, line 7)"
  ]


def test_when_everything_failed_nothing_is_told():
  done = study.run([(plan(), "quick")], Crashing(peak_at(lambda c: 1e-2), lambda c: True))[0]
  assert len(done.faults(["one", "two"])) == 2
  assert [arm.lr for arm in done.arms.values()] == [None, None]


def test_a_single_rate_is_fixed():
  fake = Fake(peak_at(lambda c: 1e-3))
  done = study.run([(plan(grid=(1e-1,)), "quick")], fake)[0]
  assert {c["eval"]["split"] for c in fake.asked} == {"test"}
  assert len(fake.asked) == 4 == 2 * study.runs_per_arm(plan(grid=(1e-1,)))
  for arm in done.arms.values():
    assert (arm.lr, arm.on_edge, arm.tuning) == (1e-1, False, ())


@pytest.mark.parametrize(
  ("card", "metric", "judge", "probes"),
  [("recall", "auc", False, []), ("g2p", "per", True, []), ("recall", "probe.entropy.entropy", False, ["entropy"])],
)
def test_tuning_takes_the_metric_and_nothing_else(card, metric, judge, probes):
  arms = {"one": {"model.heads": 1}}
  chosen = plan(card=card, metric=metric, arms=arms, probes=("pruning",), tiers={"quick": {"model.width": 8}})
  tuning, window, report = (
    study.point(chosen, "quick", "one", lr=1e-2, seed=0, **more)
    for more in ({"split": "validation"}, {"split": "test", "probed": False}, {"split": "test"})
  )
  for config in (tuning, window):
    assert (config["eval"]["judge"], config["probes"]) == (judge, probes)
  assert report["probes"] == ["pruning", *probes]
  assert report["eval"]["judge"] == (card == "g2p")  # the card's own, or the metric's


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
