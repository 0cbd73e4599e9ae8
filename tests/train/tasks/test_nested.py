import itertools

import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.nested import Nested


def heights(opens):
  return list(itertools.accumulate(1 if o else -1 for o in opens))


SMALL = Nested(length=8, depth=3, brackets=2, labels=5)


@pytest.mark.parametrize(("task", "size"), [(Nested(), 300), (SMALL, 13000)])
def test_a_reader_with_a_stack_finds_every_target(task, size):
  batch = draw(task, size=size)
  deepest = 0
  answers = batch.inputs.tokens_BTC[:300], batch.targets_BTR[:300], batch.weights_BTR[:300]
  for tokens, targets, weights in zip(*(answer.tolist() for answer in answers), strict=True):
    stack = []
    for t, (bracket, label) in enumerate(tokens):
      assert 1 <= label <= task.labels
      assert weights[t][0] == (t > 0)
      if t > 0:
        assert targets[t][0] == tokens[t - 1][1] - 1
      if bracket <= task.brackets:
        stack.append(t)
        assert weights[t][1] == 0
      else:
        opened = stack.pop()
        assert tokens[opened][0] == bracket - task.brackets
        assert weights[t][1] == (opened < t - 1)
        if opened < t - 1:
          assert targets[t][1] == tokens[opened][1] - 1
      deepest = max(deepest, len(stack))
    assert not stack
  assert deepest == task.depth
  assert (batch.slice_BTR == [0, 1]).all()


def test_every_nesting_is_equally_likely():
  rows = itertools.product([True, False], repeat=8)
  allowed = [row for row in rows if min(heights(row)) >= 0 and heights(row)[-1] == 0 and max(heights(row)) <= 3]
  assert len(allowed) == 13  # of the 14 nestings of four pairs one is four deep
  batch = draw(SMALL, size=13000)
  seen, counts = np.unique(batch.inputs.tokens_BTC[..., 0] <= 2, axis=0, return_counts=True)
  assert {tuple(row) for row in seen.tolist()} == set(allowed)
  assert ((counts - 1000) ** 2 / 1000).sum() < 43  # chi-square of 12 degrees of freedom, p = 2e-5


def test_kinds_and_labels_are_uniform_and_so_are_both_floors():
  batch = draw(SMALL, size=13000)
  bracket, label = batch.inputs.tokens_BTC[..., 0].ravel(), batch.inputs.tokens_BTC[..., 1].ravel()
  np.testing.assert_allclose(np.bincount(bracket)[1:] / len(bracket), 1 / 4, atol=0.01)
  np.testing.assert_allclose(np.bincount(label)[1:] / len(label), 1 / 5, atol=0.01)
  for r in range(2):
    weights = batch.weights_BTR[..., r].ravel()
    share = np.bincount(batch.targets_BTR[..., r].ravel(), weights) / weights.sum()
    np.testing.assert_allclose(share, SMALL.floor, atol=0.015)


def test_a_long_row_keeps_its_balance():
  batch = draw(Nested(length=3000, depth=3), size=2)
  for row in batch.inputs.tokens_BTC[..., 0] <= 3:
    high = heights(row)
    assert min(high) >= 0
    assert max(high) == 3
    assert high[-1] == 0


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"length": 7}, "even"),
    ({"length": 6, "depth": 4}, "2 to 3"),
    ({"depth": 1}, "2 to 12"),
    ({"brackets": 0}, "1 or more"),
    ({"labels": 1}, "2 or more"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Nested(**options)
