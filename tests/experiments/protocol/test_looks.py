"""Looks: the level of a row holds over all of them, and a row stops at its own decision and not at another's."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from experiments.ledger import ledger
from experiments.protocol import looks, repeats, sequential, stats, study
from experiments.protocol.claim import Claim, Study, Trial, greater
from tests.experiments.protocol.test_study import Fake
from tests.train.tiny import TINY

SIZES = (12, 24, 48)


def levels(whole):
  return [look.level for look in looks.schedule(SIZES[0], whole)]


@pytest.mark.parametrize("whole", [0.05, 0.05 / 6, 0.05 / 17])
def test_normal_sums_cross_some_bound_as_often_as_the_whole_level_says(whole):
  """The first bound is that of the level that 12 signs can attain, the others are those of the levels themselves."""
  runs, rng = 400_000, np.random.default_rng(0)
  first, *later = levels(whole)
  attained = (math.floor(first * 2**12) / 2**12, *later)
  sums_Rn = np.cumsum(rng.normal(size=(runs, 3)) * np.sqrt([12, 12, 24]), axis=1) / np.sqrt(SIZES)
  bounds = [-float(looks.special.ndtri(level)) for level in attained]
  share = (sums_Rn > bounds).any(1).mean()
  assert abs(share - whole) < 4 * math.sqrt(whole / runs) + 1e-4


def test_a_level_is_spent_in_order_and_whole_at_the_end():
  shares = np.linspace(0, 1, 50)
  found = [looks.spent(share, 0.01) for share in shares]
  assert found[0] == 0.0
  assert found[-1] == pytest.approx(0.01)
  assert all(a < b for a, b in itertools.pairwise(found))
  for whole in (0.05, 0.002):
    assert levels(whole)[0] == pytest.approx(looks.spent(12 / 48, whole), rel=1e-6)
    assert all(level < whole for level in levels(whole))


def test_a_look_that_cannot_reach_its_level_says_so():
  first, *_ = looks.schedule(4, 0.05)
  assert not first.can_decide  # .018 is less than 1 / 2^4
  assert all(look.can_decide for look in looks.schedule(12, 0.05 / 20))


DRAWS = {
  "normal": lambda rng, shape: rng.normal(size=shape),
  "heavy tails": lambda rng, shape: rng.standard_t(2, size=shape),
  "two values": lambda rng, shape: rng.choice([-1.0, 1.0], size=shape),
  "mostly equal": lambda rng, shape: rng.normal(size=shape) * (rng.random(shape) < 0.3),
}


@pytest.mark.parametrize("law", DRAWS)
def test_the_sign_flip_test_keeps_the_whole_level_over_three_looks(law):
  """Simulated rows whose truth sits on the minimum effect: 4000 of each law, by signs drawn apart from the code's."""
  rows, rng, whole = 4000, np.random.default_rng(1), 0.05
  values_Rn = DRAWS[law](rng, (rows, SIZES[-1]))
  crossed = np.zeros(rows, bool)
  for look in looks.schedule(SIZES[0], whole):
    seen_Rn = values_Rn[:, : look.n]
    signs_nP = rng.choice([-1.0, 1.0], size=(look.n, 2**12 - 1))
    as_large = (seen_Rn @ signs_nP >= seen_Rn.sum(1, keepdims=True) - 1e-12).sum(1)
    crossed |= (1 + as_large) / 2**12 <= look.level
  assert crossed.mean() < whole + 3 * math.sqrt(whole / rows)


def test_drawn_signs_agree_with_the_test_that_rows_use():
  rng = np.random.default_rng(2)
  values = rng.normal(0.3, 1.0, 24)
  signs_Pn = rng.choice([-1.0, 1.0], size=(200_000, 24))
  assert stats.sign_flip(values) == pytest.approx((signs_Pn @ values >= values.sum()).mean(), abs=0.004)


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def claim(name, test, arms):
  settings = {"name": "looks", "card": "recall", "metric": "auc", "tiers": {"quick": TINY, "small": TINY}}
  plan = Study(arms=arms, grid=(1e-3, 1e-2, 1e-1), reporting=tuple(range(100, 112)), **settings)
  place = {"document": "extension", "place": "extension"}
  return Claim(id=name, statement="One beats two.", measure="auc", experiment=Trial(plan, test), **place)


ARMS = {"one": {"model.heads": 1}, "two": {"model.heads": 2}, "four": {"model.heads": 4}}
CLEAR = claim("MINE-CLEAR", greater("two", "one", 0.1), ARMS)
FAINT = claim("MINE-FAINT", greater("four", "one", 0.1), ARMS)


def measured(config):
  """Two heads are better by .5; four by a little more than .1, buried in noise that only many seeds average out."""
  heads, seed, lr = config["model"]["heads"], config["seed"], config["optim"]["lr"]
  noise = 0.06 * (1 if seed % 2 else -1) if heads == 4 else 0.001 * (seed % 3)
  return {"auc": {1: 0.2, 2: 0.7, 4: 0.34}[heads] + noise - 0.05 * abs(math.log10(lr / 1e-2)), "initial_loss": 3.0}


@pytest.fixture(autouse=True)
def whole_level(monkeypatch):
  """A group of one claim."""
  monkeypatch.setattr(sequential, "level", lambda claim: 0.05)


def seen(claims, most=looks.MOST, measure=measured):
  fake = Fake(measure)
  at = {one.id: "small" for one in claims}
  plan = claims[0].experiment.study
  finished = {(plan.name, "small"): study.run([(plan, "small")], fake)[0]}
  return sequential.looked(claims, at, finished, most, fake), fake


def test_a_clear_row_stops_at_the_first_look_and_a_faint_one_goes_on():
  found, fake = seen([CLEAR, FAINT])
  clear, faint = found["MINE-CLEAR"], found["MINE-FAINT"]
  assert (clear.look.number, clear.decided["verdict"]) == (1, "reproduced")
  assert len(clear.done.arms["one"].results) == 12
  assert faint.look.number > 1
  assert faint.decided["verdict"] == "reproduced"
  assert faint.decided["reason"].endswith(f"Look {faint.look.number} of 3.")
  assert faint.decided["tests"][0]["n"] == faint.look.n == len(faint.done.arms["four"].results)
  asked = [(c["model"]["heads"], c["seed"]) for c in fake.asked if c["eval"]["split"] == "test"]
  assert len(asked) == len(set(asked)) == 3 * faint.look.n  # nothing is run twice
  assert {seed for _, seed in asked} == set(range(100, 100 + faint.look.n))


def test_a_decision_that_fresh_seeds_might_not_repeat_is_looked_at_again():
  numbers = []
  for shift in (0.0, 0.03, 0.06, 0.1, 0.2):

    def measure(config, shift=shift):
      drawn = random.Random(config["seed"]).gauss(0.0, 0.08) if config["model"]["heads"] == 4 else 0.0
      return measured({**config, "seed": 0, "model": {"heads": 1}}) | {
        "auc": 0.2 + (0.1 + shift + drawn if config["model"]["heads"] == 4 else 0.0)
      }

    found, _ = seen([FAINT], measure=measure)
    row = found["MINE-FAINT"]
    first = next(iter(looks.schedule(12, 0.05)))
    early = sequential.look_at(FAINT, first, row.done.first(12)).decided
    unsure = early["verdict"] != "inconclusive" and repeats.expected(early) < repeats.ENOUGH
    assert row.look.last or repeats.expected(row.decided) >= repeats.ENOUGH
    assert not (unsure and row.look.number == 1)
    numbers.append((unsure, row.look.number))
  assert any(unsure for unsure, _ in numbers)
  assert (False, 1) in numbers


def test_a_row_is_the_same_alone_and_beside_others_that_need_more_seeds():
  alone, _ = seen([CLEAR])
  beside, _ = seen([FAINT, CLEAR])
  assert alone["MINE-CLEAR"] == beside["MINE-CLEAR"]


def test_the_quick_tier_looks_once_and_says_that_it_may_be_looked_at_again():
  found, _ = seen([FAINT], most=1)
  assert found["MINE-FAINT"].decided["verdict"] == "inconclusive"
  assert found["MINE-FAINT"].decided["reason"].endswith("Look 1 of 3.")


def test_a_rate_on_the_edge_or_a_failed_run_is_not_looked_at_again():
  edge, _ = seen([FAINT], measure=lambda config: measured(config) | {"auc": config["optim"]["lr"] / 100})
  assert (edge["MINE-FAINT"].look.number, edge["MINE-FAINT"].decided["verdict"]) == (1, "inconclusive")


def test_four_seeds_decide_nothing_at_the_first_look():
  plan = replace(CLEAR.experiment.study, reporting=(100, 101, 102, 103))
  few = replace(CLEAR, experiment=Trial(plan, CLEAR.experiment.test))
  found, _ = seen([few], most=1)
  assert found["MINE-CLEAR"].decided["verdict"] == "inconclusive"
  assert "4 seeds are too few" in found["MINE-CLEAR"].decided["reason"]


def test_further_seeds_follow_the_largest_of_the_study():
  plan = replace(CLEAR.experiment.study, reporting=(205, 200, 201))
  assert study.seeds(plan, 6) == (205, 200, 201, 206, 207, 208)
  assert study.seeds(plan, 2) == (205, 200)


def test_an_early_look_never_displaces_a_later_one_of_the_same_code():
  decided = {"verdict": "reproduced", "condition": None, "reason": "", "tests": []}
  first, second, _ = looks.schedule(12, 0.05)
  early, late = (ledger.row(CLEAR, "small", "cpu", decided, look=look.record) for look in (first, second))
  assert ledger.combine([late], [early])[0]["look"]["number"] == 2
  assert ledger.combine([early], [late])[0]["look"]["number"] == 2
  assert ledger.combine([late], [early | {"code_sha256": "other"}])[0]["look"]["number"] == 1
