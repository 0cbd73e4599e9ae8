import itertools

import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks import listops
from train.tasks.listops import Listops

WIDE = Listops(length=37, depth=2, arguments=5, chance=0.3)  # room for all
TIGHT = Listops(length=22, depth=3, arguments=9, chance=1.0)
TASKS = (Listops(), WIDE, TIGHT)
OPERATORS = {
  listops.MIN: min,
  listops.MAX: max,
  listops.MED: lambda numbers: int(np.median(numbers)),  # as in the authors' generators
  listops.SM: lambda numbers: sum(numbers) % 10,
}


def read(tokens):
  """(value, depth, tokens left) of the expression or digit that opens a list of tokens."""
  first, rest = tokens[0], tokens[1:]
  if first < 10:
    return first, 0, rest
  values, depths = [], []
  while rest[0] != listops.CLOSE:
    value, depth, rest = read(rest)
    values.append(value)
    depths.append(depth)
  assert len(values) >= 2
  return OPERATORS[first](values), 1 + max(depths), rest[1:]


def arguments(tokens):
  """Numbers of arguments of all operators, in no order."""
  counts, open_ = [], []
  for token in tokens:
    if token == listops.CLOSE:
      counts.append(open_.pop())
    elif open_:
      open_[-1] += 1
    if token in OPERATORS:
      open_.append(0)
  return counts


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_is_the_value_of_the_expression(task):
  batch = draw(task, size=16384)
  depths, counts, used = set(), set(), set()
  for row, targets, weights, segment, part in zip(
    batch.inputs.tokens_BTC[:1000, :, 0],
    batch.targets_BTR[:1000, :, 0],
    batch.weights_BTR[:1000, :, 0],
    batch.inputs.positions.segment_BT[:1000],
    batch.slice_BTR[:1000],
    strict=True,
  ):
    length = int(segment.sum())
    assert segment.tolist() == [1] * length + [0] * (task.length - length)
    assert ((row == listops.PAD) == (segment == 0)).all()
    assert row[0] in OPERATORS
    value, depth, left = read(row[:length].tolist())
    assert left == []
    assert np.flatnonzero(weights).tolist() == [length - 1]
    assert targets[length - 1] == value
    assert (part == depth - 1).all()
    depths.add(depth)
    counts |= set(arguments(row[:length].tolist()))
    used |= set(row.tolist())
  assert depths == set(range(1, task.depth + 1))
  assert counts == set(range(2, task.arguments + 1))
  assert used == set(range(listops.PAD + 1))


@pytest.mark.parametrize("task", TASKS)
def test_the_law_of_values_is_that_of_the_samples(task):
  batch = draw(task, size=16384)
  share = batch.targets_BTR.sum((1, 2))  # all other targets are 0
  share = np.bincount(share, minlength=10) / len(share)
  law = listops.value_law(task.depth, task.arguments, task.chance, task.length)
  assert law.sum() == pytest.approx(1)
  np.testing.assert_allclose(share, law, atol=0.012)  # 5 sd
  assert task.floor == law.max()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_laws_of_operators_by_enumeration(count):
  argument = np.random.default_rng(0).dirichlet(np.ones(10))
  want = np.zeros((4, 10))
  for values in itertools.product(range(10), repeat=count):
    chance = argument[list(values)].prod()
    for row, operator in zip(want, OPERATORS.values(), strict=True):
      row[operator(values)] += chance
  np.testing.assert_allclose(listops.operator_laws(argument, count), want, atol=1e-12)


def test_chance_arity_and_room_follow_the_stated_rule():
  """With room for all, arguments nest with the given chance, and every number of them is equally likely."""
  batch = draw(WIDE, size=16384)
  tops, nested, total = [], 0, 0
  for row in batch.inputs.tokens_BTC[:3000, :, 0]:
    tokens = row[row != listops.PAD].tolist()
    counts = arguments(tokens)
    tops.append(counts[-1])  # the outermost closes last
    nested += len(counts) - 1
    total += counts[-1]
  np.testing.assert_allclose(np.bincount(tops, minlength=6)[2:] / 3000, 1 / 4, atol=0.035)
  assert nested / total == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"length": 21}, "22 or more"),
    ({"depth": 0}, "1 or more"),
    ({"arguments": 1}, "2 or more"),
    ({"chance": 1.5}, "0 to 1"),
    ({"length": 3, "depth": 1}, "4 or more"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Listops(**options)
