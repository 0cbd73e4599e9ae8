"""Tasks that ask for something that stands elsewhere: every answer is worked out again, token by token."""

import numpy as np
import pytest

from model import build
from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.duplicate import Duplicate
from train.tasks.lag import Lag
from train.tasks.mod_sum import ModSum
from train.tasks.partner import Partner
from train.tasks.roles import Roles


def rows(batch):
  """Tokens (T, C), targets (T,) and weights (T,) of every row."""
  return zip(batch.inputs.tokens_BTC, batch.targets_BTR[..., 0], batch.weights_BTR[..., 0], strict=True)


@pytest.mark.parametrize(("lag", "memories"), [(1, 1), (9, 1), (9, 3), (4, 4)])
def test_every_question_names_the_symbol_one_lag_before(lag, memories):
  batch = draw(Lag(lag=lag, memories=memories))
  for tokens, targets, weights in rows(batch):
    assert tokens[:, 1].tolist() == [1] * memories + [0] * (lag - memories) + [2] * memories
    assert weights.tolist() == [0.0] * lag + [1.0] * memories
    assert targets[lag:].tolist() == tokens[:memories, 0].tolist()
    assert (tokens[lag:, 0] == 0).all()


def test_the_second_string_repeats_the_first():
  batch = draw(Duplicate(length=5))
  for tokens, targets, weights in rows(batch):
    word = tokens[1:6, 0].tolist()
    assert [*tokens[:, 0], targets[-1]] == [0, *word, 0, *word]
    assert 0 not in word
    assert weights.tolist() == [0.0] * 6 + [1.0] * 5
    assert targets[6:].tolist() == word


def test_the_sum_is_that_of_the_two_marked_symbols():
  batch = draw(ModSum(length=6, symbols=5), size=300)
  places = set()
  for tokens, targets, weights in rows(batch):
    marked = np.flatnonzero(tokens[:, 1] == 1)
    assert len(marked) == 2
    assert tokens[-1].tolist() == [0, 2]
    assert weights.tolist() == [0.0] * 6 + [1.0]
    assert targets[-1] == tokens[marked, 0].sum() % 5
    places.add(tuple(marked.tolist()))
  assert len(places) == 15  # every pair of six places


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_partner_tells_its_value(symmetric):
  batch = draw(Partner(names=6, values=4, symmetric=symmetric))
  for tokens, targets, weights in rows(batch):
    value = dict(tokens.tolist())
    assert sorted(value) == list(range(6))
    for (name, _), target in zip(tokens.tolist(), targets, strict=True):
      partner = {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4}[name] if symmetric else (name + 1) % 6
      assert target == value[partner]
    assert (weights == 1).all()


@pytest.mark.parametrize("free", [False, True])
def test_roles_follow_from_order_or_from_case(free):
  task = Roles(clauses=2, nouns=4, verbs=3, free=free)
  orders = set()
  for tokens, targets, weights in rows(draw(task, size=200)):
    verbs = tokens[:, 0] >= 4
    assert (weights == ~verbs).all()
    assert verbs.reshape(2, 3).sum(1).tolist() == [1, 1]
    assert tokens[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    if free:
      assert (tokens[~verbs, 1] - 1 == targets[~verbs]).all()
      assert (tokens[verbs, 1] == 0).all()
    else:
      assert targets[~verbs].tolist() == [0, 1, 0, 1]
      assert (tokens[:, 1] == 0).all()
    orders.add(tuple(np.where(verbs, 2, targets)[:3].tolist()))
  assert len(orders) == (6 if free else 1)


@pytest.mark.parametrize(
  ("kind", "options", "told"),
  [
    ("lag", {"lag": 2, "memories": 3}, "3 or more"),
    ("duplicate", {"length": 0}, "1 or more"),
    ("mod_sum", {"length": 1}, "2 or more"),
    ("partner", {"names": 5, "symmetric": True}, "even"),
    ("partner", {"symmetric": 1}, "use bool"),
    ("roles", {"nouns": 1}, "2 or more"),
  ],
)
def test_impossible_options_are_refused(kind, options, told):
  with pytest.raises(Refused, match=told):
    build.make("tasks", {"kind": kind, **options}, package="train")
