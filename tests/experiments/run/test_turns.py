"""Turns: every request is served once, and a cohort stays with the worker that compiled it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.run import cohorts
from experiments.run.cohorts import Turns
from experiments.run.messages import Call, Train


def requests(*names):
  return [Train(cohort, (f"{cohort}{index}",), ({},), ("",)) for index, cohort in enumerate(names)]


@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.lists(st.integers(0, 2), min_size=60, max_size=60))
@settings(max_examples=200, deadline=None)
def test_every_request_is_served_once(names, order):
  turns, served = Turns(), []
  turns.add(requests(*names))
  for worker in order:
    taken = turns.take(worker)
    served += taken.keys if taken else ()
  assert sorted(served) == sorted(f"{cohort}{index}" for index, cohort in enumerate(names))
  assert turns.take(0) is None


def test_a_worker_goes_on_with_its_cohort_and_takes_a_free_one_before_it_helps():
  turns = Turns()
  turns.add(requests("a", "a", "b", "b", "c", "c", "c"))
  served = {name: [] for name in "xy"}
  for worker in "xyxyxyx":
    served[worker].append(turns.take(worker).cohort)
  assert served == {"x": ["a", "a", "c", "c"], "y": ["b", "b", "c"]}


def test_later_work_goes_to_the_worker_that_holds_its_program():
  turns = Turns()
  turns.add(requests("a", "b"))
  assert [turns.take(worker).cohort for worker in "xy"] == ["a", "b"]
  turns.add(requests("a", "b"))
  assert [turns.take(worker).cohort for worker in "yx"] == ["b", "a"]


def test_what_a_lost_worker_held_is_free_again():
  turns = Turns()
  turns.add(requests("a", "b", "b", "a"))
  assert turns.take("x").cohort == "a"
  turns.drop("x")
  assert turns.take("y").cohort == "a"


def test_checks_and_benches_have_no_cohort_and_belong_to_nobody():
  turns = Turns()
  turns.add([Call("checks", name) for name in ("one", "two", "three")])
  assert [turns.take(worker).name for worker in "xyx"] == ["one", "two", "three"]
  assert not any(turns.held.values())


@pytest.mark.parametrize(("device", "most"), [("cpu", cohorts.HELD), ("gpu", cohorts.HELD_ON_DEVICE)])
def test_memory_is_bounded_and_the_runner_forgets_what_the_worker_dropped(device, most):
  turns = Turns(device)
  turns.add(requests(*(f"{index:03d}" for index in range(most + 1))))
  while turns.take("x"):
    pass
  assert len(turns.held["x"]) == most
  assert "000" not in turns.held["x"]
