import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.lookup import Lookup

FULL = Lookup(length=5, addresses=5, contents=3)
SAME = Lookup(length=2, addresses=9, same=True)


@pytest.mark.parametrize("task", [Lookup(), FULL])
def test_the_answer_is_the_content_of_the_token_whose_address_is_asked(task):
  batch = draw(task, size=2000)
  assert (batch.weights_BTR == 1).all()
  for tokens, targets in zip(batch.inputs.tokens_BTC.tolist(), batch.targets_BTR[..., 0], strict=True):
    content_of = {address: content for address, content, _ in tokens}
    assert len(content_of) == task.length
    for (own, content, asked), target in zip(tokens, targets, strict=True):
      assert asked != own
      assert 1 <= content <= task.contents
      assert target == content_of[asked] - 1


def test_with_same_the_answer_is_the_address_that_the_question_nearly_names():
  task = Lookup(length=4, addresses=17, same=True)
  batch = draw(task, size=3000)
  misses = []
  for tokens, targets in zip(batch.inputs.tokens_BTC, batch.targets_BTR[..., 0], strict=True):
    address = tokens[:, 0]
    assert (tokens[:, 1] == 0).all()
    around = np.abs(address[:, None] - address)
    around = np.minimum(around, 17 - around)[~np.eye(4, dtype=bool)]
    assert around.min() >= 3
    for i in range(4):
      off = np.abs(tokens[i, 2] - address)
      near = np.flatnonzero(np.minimum(off, 17 - off) <= 1)
      assert len(near) == 1
      assert near[0] != i
      assert targets[i] == address[near[0]] - 1
      misses.append((tokens[i, 2] - address[near[0]] + 1) % 17)
  np.testing.assert_allclose(np.bincount(misses, minlength=3) / len(misses), 1 / 3, atol=0.02)


def test_spaced_addresses_are_a_uniform_choice():
  """Two addresses on a ring of 9, at least 3 apart: 9 * 4 ordered pairs."""
  batch = draw(SAME, size=18000)
  pairs, counts = np.unique(batch.inputs.tokens_BTC[..., 0], axis=0, return_counts=True)
  assert len(pairs) == 36
  assert ((counts - 500) ** 2 / 500).sum() < 78  # chi-square of 35 degrees of freedom, p = 4e-5


def test_own_token_tells_little_with_same_and_nothing_without():
  """The best guess from one's own content, and from how far off one's question is from one's own address."""
  batch = draw(Lookup(), size=2000)
  assert best_guess(batch.inputs.tokens_BTC[..., 1], batch.targets_BTR) < 1 / 16 + 0.02
  batch = draw(Lookup(same=True), size=2000)
  own, asked = batch.inputs.tokens_BTC[..., 0], batch.inputs.tokens_BTC[..., 2]
  off = (batch.targets_BTR[..., 0] + 1 - asked) % 48
  assert 1 / 3 < best_guess((asked - own) % 48, off) < 0.45  # one's own address keeps others off


def best_guess(seen, answer):
  counts = np.zeros((49, 49))
  np.add.at(counts, (seen.ravel(), answer.ravel()), 1)
  return counts.max(1).sum() / counts.sum()


def test_both_floors_are_uniform():
  assert FULL.floor == 1 / 3
  assert SAME.floor == 1 / 9
  for task, size in ((FULL, 2000), (SAME, 18000)):
    counts = np.bincount(draw(task, size=size).targets_BTR.ravel())
    np.testing.assert_allclose(counts / counts.sum(), task.floor, atol=0.02)


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"length": 12, "addresses": 11}, "at least task.length=12"),
    ({"length": 12, "addresses": 47, "same": True}, "at least 4 .* 48"),
    ({"length": 1}, "2 or more"),
    ({"contents": 1}, "2 or more"),
    ({"same": 0}, "True or False"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Lookup(**options)
