import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.fact import Fact


@pytest.mark.parametrize(
  ("length", "distance", "distractors"), [(2, 1, True), (9, 1, False), (9, 4, True), (9, 8, False)]
)
def test_the_only_cue_stands_at_the_distance_and_bears_the_answer(length, distance, distractors):
  batch = draw(Fact(length=length, distance=distance, values=5, symbols=3, distractors=distractors), size=200)
  assert batch.inputs.positions.pos_BT.shape == (1, length)
  place, others = length - 1 - distance, set()
  for tokens, targets, weights in zip(batch.inputs.tokens_BTC, batch.targets_BTR, batch.weights_BTR, strict=True):
    cue, question = 4, 5
    assert np.flatnonzero(tokens[:, 0] == cue).tolist() == [place]
    assert np.flatnonzero(tokens[:, 0] == question).tolist() == [length - 1]
    assert targets[-1, 0] == tokens[place, 1] - 1
    assert weights[:, 0].tolist() == [0.0] * (length - 1) + [1.0]
    noise = np.delete(tokens, [place, length - 1], 0)
    assert ((noise[:, 0] >= 1) & (noise[:, 0] <= 3)).all()
    assert ((noise[:, 1] > 0) == distractors).all()
    assert tokens[-1, 1] == 0
    others |= set(noise[:, 1].tolist())
  if distractors and length > 2:
    assert others == set(range(1, 6))  # they look like the value


def test_nothing_but_the_fact_tells_the_answer():
  """The answer is independent of every other token, one by one."""
  batch = draw(Fact(length=5, distance=2, values=4, symbols=4, distractors=True), size=20000)
  answer = batch.targets_BTR[:, -1, 0]
  for place, field in [(0, 0), (0, 1), (1, 0), (1, 1), (3, 0), (3, 1)]:
    counts = np.zeros((4, 4))
    np.add.at(counts, (answer, batch.inputs.tokens_BTC[:, place, field] - 1), 1)
    assert ((counts - 1250) ** 2 / 1250).sum() < 48  # chi-square of 15 degrees of freedom, p = 3e-5


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"length": 8, "distance": 8}, "1 to 7"),
    ({"distance": 0}, "1 to 47"),
    ({"length": 1}, "2 or more"),
    ({"values": 1}, "2 or more"),
    ({"symbols": 0}, "1 or more"),
    ({"distractors": 1}, "True or False"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Fact(**options)
