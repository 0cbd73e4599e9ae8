"""What is the same trial, what is the same compile."""

import pytest

from experiments import cohorts
from tests.train.tiny import tiny

MEMBERS = [
  {"seed": 5},
  {"optim__lr": 0.5},
  {"optim__label_smoothing": 0.1},
  {"optim__schedule__kind": "cosine"},
  {"model__attention__scale": 1.0},
  {"model__init__kind": "torch"},
  {"model__init__qk_gain": 0.5},
  {"eval__split": "test"},
]
STRUCTURE = [
  {"model__heads": 2},
  {"model__width": 16},
  {"model__attention__kind": "additive"},
  {"model__attention__learned": True},
  {"model__dropout": 0.1},
  {"train__steps": 10},
  {"train__batch": 4},
  {"task__values": 3},
  {"optim__kind": "sgd"},
]


@pytest.mark.parametrize("change", MEMBERS)
def test_member_keys_share_a_cohort_but_not_a_trial(change):
  assert cohorts.cohort_key(tiny()) == cohorts.cohort_key(tiny(**change))
  assert cohorts.trial_key(tiny(), {}) != cohorts.trial_key(tiny(**change), {})


@pytest.mark.parametrize("change", STRUCTURE)
def test_all_else_is_another_cohort(change):
  assert cohorts.cohort_key(tiny()) != cohorts.cohort_key(tiny(**change))


def test_dropout_rates_share_a_cohort():
  assert cohorts.cohort_key(tiny(model__dropout=0.1)) == cohorts.cohort_key(tiny(model__dropout=0.2))


def test_the_data_is_part_of_the_trial():
  assert cohorts.trial_key(tiny(), {}) != cohorts.trial_key(tiny(), {"cmudict": "ff"})


def test_packs_hold_one_cohort_each_and_every_trial_once():
  points = {f"{h}{s}": tiny(model__heads=h, seed=s) for s in range(5) for h in (1, 2)}
  packed = cohorts.packs(points, 2)
  assert sorted(key for pack in packed for key in pack.keys) == sorted(points)
  for pack in packed:
    assert len(pack.keys) <= 2
    assert {cohorts.cohort_key(config) for config in pack.configs} == {pack.cohort}
