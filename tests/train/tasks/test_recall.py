import itertools
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import Refused
from train.chance import expected_entropy, expected_mode
from train.tasks.recall import Recall

OPTIONS = (
  {},
  {"relations": 1},
  {"pairs": 5, "keys": 5, "values": 3, "queries": 2, "relations": 3},
  {"distractors": 7, "relations": 2},
  {"hops": 2},
  {"pairs": 9, "hops": 3, "distractors": 3, "relations": 2, "values": 20},
)


def draw(task, seed=0, size=64):
  return jax.device_get(jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), size, ()))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_reader_of_the_raw_tokens_finds_every_target(options):
  task = Recall(**options)
  batch = draw(task)
  memory, asked_levels = task.pairs + task.distractors, set()
  for row, targets, weights in zip(batch.inputs.tokens_BTC, batch.targets_BTR, batch.weights_BTR, strict=True):
    value_of = {}
    for key, value, *queries in row[:memory].tolist():
      assert key not in value_of
      assert 1 <= key <= task.keys
      assert not any(queries)
      value_of[key] = value
    for t in range(memory, memory + task.queries):
      assert not row[t, :2].any()
      for r in range(task.relations):
        answer = row[t, 2 + r].item()
        for _ in range(task.hops):
          answer = value_of[answer]
        assert targets[t, r] == answer - 1
        asked_levels.add(row[t, 2 + r].item())
    assert not weights[:memory].any()
    assert (weights[memory:] == 1).all()
  assert len(asked_levels) == task.keys  # over many rows every key is asked
  assert (batch.slice_BTR == np.arange(task.relations)).all()
  assert batch.targets_BTR.max() < task.vocabulary.outputs
  assert (batch.inputs.tokens_BTC.max((0, 1)) < np.array(task.vocabulary.inputs)).all()


def test_distractors_are_never_asked_and_stand_anywhere():
  task = Recall(pairs=2, distractors=6, queries=30, relations=1)
  batch = draw(task, size=200)
  rows = batch.inputs.tokens_BTC
  places = np.zeros(8)
  for row in rows:
    asked = set(row[8:, 2].tolist())
    assert len(asked) <= 2
    places += np.isin(row[:8, 0], list(asked))
  assert abs(places / places.sum() - 1 / 8).max() < 0.05


def test_keys_are_a_uniform_choice():
  batch = draw(Recall(pairs=3, keys=4, queries=1, relations=1), size=6000)
  rows, counts = np.unique(batch.inputs.tokens_BTC[:, :3, 0], axis=0, return_counts=True)
  assert sorted(map(tuple, rows.tolist())) == sorted(itertools.permutations(range(1, 5), 3))
  assert ((counts - 250) ** 2 / 250).sum() < 56  # chi-square of 23 degrees of freedom, p = 1e-4


def test_noise_blanks_that_share_of_keys_and_bounds_the_accuracy():
  task = Recall(noise=0.3, pairs=6, values=4, queries=4, relations=2)
  batch = draw(task, size=4000)
  query = batch.inputs.tokens_BTC[:, 6:, 2:]
  assert abs((query == 0).mean() - 0.3) < 0.01
  right = []
  for row, targets in zip(batch.inputs.tokens_BTC, batch.targets_BTR, strict=True):
    value_of = dict(row[:6, :2].tolist())
    usual = np.bincount(row[:6, 1]).argmax()
    right += [value_of.get(k, usual) == t + 1 for k, t in zip(row[6:, 2:].ravel(), targets[6:].ravel(), strict=True)]
  assert abs(np.mean(right) - task.ceiling) < 0.01


@given(st.integers(1, 5), st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_mode_and_entropy_of_a_bag_against_enumeration(draws, values):
  counts = [np.bincount(bag, minlength=values) / draws for bag in itertools.product(range(values), repeat=draws)]
  entropy = [-sum(p * math.log(p) for p in share if p) for share in counts]
  assert expected_mode(draws, values) == pytest.approx(np.mean([share.max() for share in counts]))
  assert expected_entropy(draws, values) == pytest.approx(np.mean(entropy))


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"pairs": 33}, "task.keys=32"),
    ({"relations": 0}, "1 or more"),
    ({"pairs": 12, "hops": 5}, "equal levels"),
    ({"hops": 2, "values": 40}, "must name a key"),
    ({"noise": 1.5}, "0 to 1"),
    ({"noise": 0.1, "distractors": 1}, "ceiling"),
    ({"queries": 2.0}, "whole number"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Recall(**options)
