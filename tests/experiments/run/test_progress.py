"""The time left, as told without a terminal."""

import pytest

from experiments.run import progress


@pytest.fixture
def clock(monkeypatch):
  """Seconds that pass only when told to."""
  now = [0.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


def test_the_time_left_counts_what_will_come_and_takes_the_recent_pace(clock, capsys):
  with progress.Progress("run") as told:
    told.expect(600)
    told.plan(400)
    for second, done in ((100, 10), (161, 110), (222, 210)):  # slow at first: a compile
      clock[0] = float(second)
      told.step(("a",), done)
    lines = capsys.readouterr().err.splitlines()
  assert lines[-1] == f"run: 21 % after 222 s, about {790 / (100 / 61):.0f} s left"
  assert [line.split(" %")[0] for line in lines] == ["run: 1", "run: 11", "run: 21"]


def test_work_expected_is_replaced_by_work_planned(clock, capsys):
  with progress.Progress("run") as told:
    told.expect(100)
    told.plan(100)
    told.expect(0)
    told.plan(100)
    clock[0] = 61.0
    told.advance(50)
  assert "25 %" in capsys.readouterr().err


def test_news_rarer_than_the_recent_still_tell_a_pace(clock, capsys):
  with progress.Progress("run") as told:
    told.plan(1000)
    for second in (0, 400, 800):
      clock[0] = float(second)
      told.step(("a",), second // 4)
  assert capsys.readouterr().err.splitlines()[-1] == "run: 20 % after 800 s, about 3200 s left"
