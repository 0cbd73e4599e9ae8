"""A worker's memory is bounded: the oldest programs go, the one in use stays, and what cannot shrink is left alone."""

import collections

import pytest

from experiments.worker import memory


@pytest.fixture
def process(monkeypatch):
  """A process that holds 200 and 20 for each cohort, and 20 more for the traces of each since the last release."""
  held, state = collections.OrderedDict(), {"traces": 0, "releases": 0, "data": 0}

  def release():
    state["traces"] = 0
    state["releases"] += 1

  monkeypatch.setattr(memory, "_release", release)
  monkeypatch.setattr(memory, "used", lambda: 200 + state["data"] + 20 * len(held) + 20 * state["traces"])
  return held, state


def test_memory_stays_below_the_bound_and_the_last_cohort_is_kept(process, monkeypatch):
  held, state = process
  monkeypatch.setattr(memory, "GROWTH", 100)
  trimmer, gone = memory.Trimmer(800, 600), []
  for number in range(200):
    held[str(number)] = None
    state["traces"] += 1
    gone += trimmer.trim(held)
    assert memory.used() <= 800
    assert str(number) in held
  assert gone == [str(number) for number in range(len(gone))]  # the oldest first
  assert len(held) > 5
  assert state["releases"] < 50  # not at every step


def test_what_cannot_shrink_is_not_trimmed_at_every_step(process, monkeypatch):
  held, state = process
  monkeypatch.setattr(memory, "GROWTH", 100)
  trimmer = memory.Trimmer(800, 600)
  held["one"], state["data"] = None, 5000
  for _ in range(50):
    assert trimmer.trim(held) == []
  assert state["releases"] == 1


def test_a_driver_that_is_large_from_the_start_leaves_room_for_programs(process):
  held, state = process
  state["data"] = 3000
  trimmer = memory.Trimmer(800, 600, base=memory.used())
  held["one"] = None
  assert trimmer.trim(held) == []
  assert state["releases"] == 0


def test_this_process_tells_what_it_holds():
  before = memory.used()
  block = bytearray(64 * 2**20)
  block[::4096] = b"x" * len(block[::4096])
  assert before == 0 or memory.used() - before > 50 * 2**20
