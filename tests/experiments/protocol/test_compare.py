"""Comparisons: what an interval says, and that an arm does not differ from itself."""

import math
from pathlib import Path

import pytest
import scipy.stats

from configs import sweep as axes
from experiments.protocol import compare, scales, stats, study, sweep
from model import build
from model.errors import Refused
from tests.experiments.protocol.test_study import Fake
from tests.train.tiny import tiny
from train import metrics
from train.loop import fit
from train.step import Ensemble


@pytest.mark.parametrize(
  ("low", "high", "delta", "better", "said"),
  [
    (0.1, 0.2, 0.0, "max", "better"),
    (0.1, 0.2, 0.0, "min", "worse"),
    (-0.3, -0.2, 0.1, "max", "worse"),
    (-0.3, -0.2, 0.1, "min", "better"),
    (-0.05, 0.05, 0.1, "max", "equivalent"),
    (-0.05, 0.2, 0.1, "max", "no difference found"),
    (-0.05, 0.05, 0.0, "max", "no difference found"),
  ],
)
def test_what_an_interval_says(low, high, delta, better, said):
  assert compare.answer(low, high, delta, better).startswith(said)


def test_a_difference_is_paired():
  noise = [0.5, -0.3, 0.9, 0.1, -0.8, 0.4, 0.0, 0.7, -0.2, 0.3, 0.6, -0.5]
  found = compare.difference([x + 0.01 for x in noise], noise, 0.0, "max")
  assert found["effect"] == pytest.approx(0.01)
  assert found["answer"].startswith("better")
  assert found["p"] == pytest.approx(2 / 4096)


def test_arms_are_named_checked_and_may_be_equal():
  named = compare.arms("recall", [], ["attention=dot", "attention=additive,model.heads=2", "attention=dot"])
  assert list(named) == ["attention=dot", "attention=additive heads=2", "attention=dot (3)"]
  assert named["attention=additive heads=2"] == {"model.attention.kind": "additive", "model.heads": "2"}
  with pytest.raises(Refused, match="positive"):
    compare.as_study("recall", named, "auc", 12, "1e-3,-1")


def test_few_seeds_are_told_by_student_and_say_so():
  """The p is the interval's own: three signs alone could never come below .25."""
  found = compare.difference([0.30, 0.41, 0.52], [0.1, 0.2, 0.3], 0.0, "max")
  assert found["method"] == "t"
  assert found["p"] == pytest.approx(scipy.stats.ttest_1samp([0.2, 0.21, 0.22], 0).pvalue)
  assert stats.said("t", 3) == "Student's t, as 3 seeds are too few for the exact test (6)"
  assert compare.warning(5)
  assert not compare.warning(6)
  assert compare.difference([0.5] * 6, [0.4] * 6, 0.0, "max")["method"] == "sign-flip"
  alike = compare.difference([0.5, 0.5], [0.25, 0.25], 0.0, "max")
  assert "too alike" in alike["answer"]
  assert alike["p"] == 1.0


def test_a_difference_of_two_shares_ends_at_one():
  ours, theirs = [1.0, 0.9], [0.0, 0.3]
  assert compare.difference(ours, theirs, 0.0, "max")["ci"][1] > 1
  found = compare.difference(ours, theirs, 0.0, "max", scales.SHARE)
  assert found["ci"] == [-1.0, 1.0]
  assert found["method"] == "t within [-1, 1]"


@pytest.mark.parametrize(
  ("metric", "given", "better"), [("auc", None, "max"), ("loss", None, "min"), ("t90", "min", "min")]
)
def test_the_direction_is_the_measures_own(metric, given, better):
  named = compare.arms("recall", [], ["attention=dot", "attention=additive"])
  assert compare.as_study("recall", named, metric, 2, "1e-2", given).better == better


def test_a_metric_without_direction_takes_the_users():
  named = compare.arms("recall", [], ["attention=dot", "attention=additive"])
  plan = compare.as_study("recall", named, "probe.entropy.entropy/encoder/0", 2, "1e-2", "min")
  assert (plan.better, plan.grid) == ("min", (1e-2,))


class Some(Fake):
  """Trials of heads=2 fail where the seed is below `until`; heads=4 diverge where nothing was decoded."""

  def __init__(self, until):
    super().__init__(lambda config: {"auc": 0.5 + config["seed"] / 1e4, "initial_loss": 3.0})
    self.until = until

  def trials(self, points):
    results = super().trials(points)
    for key, config in points.items():
      if config["model"]["heads"] == 2 and config["seed"] < self.until:
        results[key] = {"status": "failed", "cause": "ValueError: no", "measures": {}, "seconds": 0.0}
    return results


@pytest.mark.parametrize("lrs", ["1e-2", "1e-3,1e-2,1e-1"])
def test_a_crash_gives_no_answer_and_is_no_score(lrs):
  named = compare.arms("recall", [], ["model.heads=1", "model.heads=2", "model.heads=4"])
  plan = compare.as_study("recall", named, "auc", 6, lrs)
  _, found = compare.run(plan, 0.0, Some(202))
  assert [item["answer"].startswith(compare.NO_ANSWER) for item in found] == [True, False]
  lost = "2 of 6 trials" if lrs == "1e-2" else "9 of 9 tuning trials"
  assert f"{lost} of arm 'heads=2' failed: ValueError: no" in found[0]["answer"]
  assert found[0]["n"] == 0
  assert math.isnan(found[0]["effect"])


def test_arms_may_hold_a_colon(tmp_path):
  """A class of one's own is named path/to/file.py:Class, which also parts an arm from a measure."""
  source = (Path(build.__file__).parent / "attention" / "additive.py").read_text()
  (tmp_path / "mine.py").write_text(source)
  named = compare.arms("recall", [], ["attention=dot", f"attention={tmp_path}/mine.py:Additive"])
  _, found = compare.run(compare.as_study("recall", named, "auc", 6, "1e-2"), 0.0, Some(0))
  assert found[0]["effect"] == 0.0


def test_a_sweep_tells_each_measure_with_its_own_number_and_range():
  def arm(*results):
    return study.Arm("a", 1e-2, False, (), (), results, tiny())

  run = lambda auc, loss, status="done": {  # noqa: E731
    "status": status, "cause": "x", "measures": {"auc": auc, "loss": loss, "initial_loss": 3.0}
  }  # fmt: skip
  failed = {"status": "failed", "cause": "x", "measures": {}}
  found = sweep.figures(arm(run(0.99, 1.0), run(0.7, math.nan, "diverged"), failed), "auc")
  assert (found["n"], found["ci"][1], found["method"]) == (2, 1.0, "t within [0, 1]")
  assert found["mean"] == pytest.approx(0.845)
  assert sweep.figures(arm(run(0.9, 1.0), run(0.9, math.nan, "diverged")), "loss")["mean"] == 2.0  # its untrained loss
  assert sweep.figures(arm(failed, failed), "auc")["n"] == 0
  twelve = sweep.figures(arm(*(run(0.9 + i / 200, 1.0) for i in range(12))), "auc")
  assert tuple(twelve["ci"]) == stats.interval([0.9 + i / 200 for i in range(12)], 0.025)[:2]
  assert twelve["method"] == "sign-flip"


def test_no_card_sweeps_what_a_sweep_overwrites():
  for card in axes.cards():
    assert sweep.points(card, [], [])


@pytest.mark.slow
def test_an_arm_does_not_differ_from_itself():
  """Twenty comparisons of dot with dot on disjoint seeds at nominal .05."""
  config = tiny(train__steps=40, eval__every=10)
  whole = Ensemble(config, build.make("tasks", config["task"], package="train"))
  found = []
  for trial in range(20):
    members = [config | {"seed": 10_000 + 24 * trial + index} for index in range(24)]
    values = [metrics.summary(curve, 4)["auc"] for curve in fit(whole, members, (), ()).curves]
    found.append(compare.difference(values[:12], values[12:], 0.0, "max")["answer"])
  assert found.count("no difference found") >= 19, found


@pytest.mark.parametrize("given", ["atention=dot", {"atention": "dot"}])
def test_a_short_name_misspelt_is_told_which_was_meant(given):
  with pytest.raises(Refused, match="did you mean attention"):
    compare.arms("recall", {}, [given, "attention=additive"])
