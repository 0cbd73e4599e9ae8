"""Rows of trials that failed, and of too few seeds: no verdict is made of what was not measured."""

from types import SimpleNamespace

import pytest

from experiments.ledger import ledger
from experiments.protocol import looks, measures, reproduce, sequential, study
from experiments.protocol.claim import All, Claim, Contrast, Trial, greater
from model.errors import Refused
from tests.experiments.protocol.test_study import Crashing, plan

OPTIONS = SimpleNamespace(keep_stale=False)
RUNNER = SimpleNamespace(backend={"device": "cpu", "device_name": "x"}, stale=set(), options=OPTIONS)


def claim(test, **more):
  place = {"document": "extension", "place": "extension"}
  trial = Trial(plan(**more), test)
  return Claim(id="MINE-1", statement="Two is more than one.", measure="auc", experiment=trial, **place)


def row(one, crash=lambda config: False, measure=lambda config: {"auc": 0.5, "initial_loss": 3.0}):
  plan = one.experiment.study
  done = study.run([(plan, "quick")], Crashing(measure, crash))[0]
  look = next(looks.schedule(len(plan.reporting), 0.05))
  return reproduce._trial_row(one, "quick", "", sequential.look_at(one, look, done), RUNNER)


@pytest.mark.parametrize(
  ("crash", "said"),
  [
    (lambda c: c["model"]["heads"] == 2, "9 of 9 tuning trials of arm 'two' failed: TypeError: no (mine.py, line 7)"),
    (lambda c: c["seed"] == 101 and c["model"]["heads"] == 1, "1 of 12 trials of arm 'one' failed"),
    (lambda c: True, "9 of 9 tuning trials of arm 'one' failed"),
  ],
)
@pytest.mark.parametrize("by", [-1.0, 0.0, 0.4])
def test_a_crash_is_no_evidence(crash, said, by):
  """Neither for the claim nor against it, however large its minimum effect."""
  made = row(claim(greater("one", "two", by), reporting=tuple(range(100, 112))), crash)
  assert made["verdict"] == "inconclusive"
  assert made["reason"].startswith("no answer: ")
  assert said in made["reason"]
  assert made["tests"] == []
  assert ledger.dumps([made])


def test_only_the_arms_that_a_claim_reads_matter():
  arms = {name: {"model.heads": heads} for name, heads in (("one", 1), ("two", 2), ("four", 4))}
  one = claim(greater("one", "two", -0.1), arms=arms, reporting=tuple(range(100, 112)))
  made = row(one, lambda c: c["model"]["heads"] == 4)
  assert made["verdict"] == "reproduced"


def test_too_few_seeds_are_told_and_their_interval_ends_where_the_effect_must():
  one = claim(All((greater("one", "two", 0.0), Contrast("double", {"one": 2.0, "two:loss": -1.0}))))
  measure = lambda c: {"auc": c["seed"] % 2 if c["model"]["heads"] == 1 else 0.1, "loss": c["seed"] / 100}  # noqa: E731
  made = row(one, measure=measure)
  difference, double = made["tests"]
  assert difference["rule"] == double["rule"] == "T"
  assert difference["ci"] == [-1.0, 1.0]
  assert double["ci"][0] < -2  # a loss has no upper end
  assert double["ci"][1] == 2.0
  assert "by Student's t: too few for the exact test" in made["reason"]


def test_what_a_claim_asks_for_in_vain_is_told_before_anything_runs():
  with pytest.raises(Refused, match="did you mean accuracy"):
    measures.ready([claim(greater("one:acuracy", "two:acuracy", 0.0))], "quick")
  measures.ready([claim(greater("one:accuracy", "two:accuracy", 0.0))], "quick")


def test_the_trials_planned_count_what_runs():
  """Tuning and reporting of both arms; a fixed rate tunes nothing, a window runs beside."""
  trials = lambda **more: reproduce.planned([claim(greater("one", "two", 0.0), **more)], "quick")[0]["trials"]  # noqa: E731
  assert trials() == 2 * (3 * 3 + 2)
  assert trials(grid=(1e-2,)) == 2 * 2
  assert trials(window=(1e-3, 1e-2)) == 2 * (3 * 3 + 2 + 2 * 2)
