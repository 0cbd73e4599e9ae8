import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.motif import Motif


def marks(tokens, pitches):
  """Places of the two markers of a row."""
  first, second = np.flatnonzero(tokens == pitches).tolist()
  return first, second


@pytest.mark.parametrize(("notes", "length"), [(4, 24), (2, 6)])
def test_the_motif_returns_moved_by_what_its_first_note_tells(notes, length):
  batch = draw(Motif(notes=notes, pitches=7, intervals=5, length=length), size=2000)
  gaps, intervals = set(), set()
  for tokens, targets, weights, part in zip(
    batch.inputs.tokens_BTC[..., 0], batch.targets_BTR[..., 0], batch.weights_BTR[..., 0], batch.slice_BTR, strict=True
  ):
    first, second = marks(tokens, 7)
    gap, room = second - first - notes - 1, length - 2 * notes - 2
    interval = (tokens[second + 1] - tokens[first + 1]) % 7
    due = list(range(second + 1, second + notes))
    assert np.flatnonzero(weights).tolist() == due
    for i, t in enumerate(due, 2):
      assert targets[t] == tokens[t + 1] == (tokens[first + i] + interval) % 7
    assert (part == (gap > room / 2)).all()
    gaps.add(gap)
    intervals.add(interval)
  assert gaps == set(range(length - 2 * notes - 1))
  assert intervals == set(range(1, 6))


def test_gaps_are_uniform_and_the_motif_stands_anywhere_in_what_is_left():
  batch = draw(Motif(notes=2, pitches=5, length=9), size=12000)
  counts = np.zeros((4, 4))
  for tokens in batch.inputs.tokens_BTC[..., 0]:
    first, second = marks(tokens, 5)
    counts[second - first - 3, first] += 1
  for gap in range(4):
    np.testing.assert_allclose(counts[gap, : 4 - gap] / 12000, 1 / 4 / (4 - gap), atol=0.015)
    assert not counts[gap, 4 - gap :].any()


def test_the_answers_of_the_control_are_a_table_by_position():
  task = Motif(notes=4, pitches=7, length=24, absolute=True)
  plain, control = draw(Motif(notes=4, pitches=7, length=24), size=2000), draw(task, size=2000)
  np.testing.assert_array_equal(control.inputs.tokens_BTC, plain.inputs.tokens_BTC)  # only the question differs
  np.testing.assert_array_equal(control.weights_BTR, plain.weights_BTR)
  said = {}
  for targets, weights in zip(control.targets_BTR[..., 0], control.weights_BTR[..., 0], strict=True):
    for t in np.flatnonzero(weights):
      assert said.setdefault(t, targets[t]) == targets[t]
  assert len(set(said.values())) > 3
  longer = Motif(notes=4, pitches=7, length=48, absolute=True)
  np.testing.assert_array_equal(longer.table_T[:24], task.table_T)


@pytest.mark.parametrize(
  "options", [{"absolute": True}, {"absolute": True, "notes": 2, "pitches": 3, "intervals": 2, "length": 7}]
)
def test_the_floor_is_the_best_constant_answer(options):
  task = Motif(**options)
  batch = draw(task, size=8192)
  share = np.bincount(batch.targets_BTR.ravel(), batch.weights_BTR.ravel()) / batch.weights_BTR.sum()
  assert share.max() == pytest.approx(task.floor, abs=0.01)
  assert task.floor < task.ceiling == 1


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"notes": 6, "length": 13}, "14 or more"),
    ({"pitches": 4}, "1 to 3"),
    ({"notes": 1}, "2 or more"),
    ({"pitches": 1}, "2 or more"),
    ({"absolute": None}, "True or False"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Motif(**options)
