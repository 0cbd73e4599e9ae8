"""Comparisons: what an interval says, and that an arm does not differ from itself."""

import pytest

from experiments import compare
from model import build
from model.errors import Refused
from tests.train.tiny import tiny
from train import metrics
from train.loop import fit
from train.step import ensemble


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
    compare.plan("recall", named, "auc", 12, "1e-3,-1")


@pytest.mark.slow
def test_an_arm_does_not_differ_from_itself():
  """Twenty comparisons of dot with dot on disjoint seeds at nominal .05."""
  config = tiny(train__steps=40, eval__every=10)
  whole = ensemble(config, build.make("tasks", config["task"], package="train"))
  found = []
  for trial in range(20):
    members = [config | {"seed": 10_000 + 24 * trial + index} for index in range(24)]
    values = [metrics.summary(curve, 4)["auc"] for curve in fit(whole, members, (), ()).curves]
    found.append(compare.difference(values[:12], values[12:], 0.0, "max")["answer"])
  assert found.count("no difference found") >= 19, found
