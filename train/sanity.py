"""What the first batches of a task say of it, before a model trains on them: a wrong task is wrong in silence.

Negative weights give accuracies below 0, a target outside the vocabulary NaN or the last symbol, weights of another
shape a loss of another size. Everything here looks at batches on the host.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task

BATCHES = 8  # of each split that are looked at


def check_task(task: Any, name: str) -> None:
  """Refuses a task that does not state its vocabulary, its slices or what bounds every model on it."""
  if not isinstance(task, Task):
    raise Refused(f"{name} is a {type(task).__name__}; derive its class from train.tasks.task.Task")
  vocabulary = getattr(task, "vocabulary", None)
  if not isinstance(vocabulary, Vocabulary) or not vocabulary.inputs or not all(map(_positive, _sizes(vocabulary))):
    raise Refused(f"{name} has the vocabulary {vocabulary}; give Vocabulary(inputs=(sizes), outputs=size)")
  bounds = floor, ceiling = getattr(task, "floor", None), getattr(task, "ceiling", None)
  if not all(_number(bound) for bound in bounds) or not 0 <= floor <= ceiling <= 1:  # type: ignore[operator]
    raise Refused(f"{name} has floor={floor} and ceiling={ceiling}; give accuracies, 0 <= floor <= ceiling <= 1")
  if task.exact_entropy is not None and not (_number(task.exact_entropy) and task.exact_entropy >= 0):
    raise Refused(f"{name} has exact_entropy={task.exact_entropy}; give nats of at least 0, or None")
  if not isinstance(task.slices, tuple) or len(set(task.slices)) < len(task.slices):
    raise Refused(f"{name} has slices={task.slices!r}; give a tuple of names, each once")


def check_pure(sample: Callable[[jax.Array, Any], Any], key: jax.Array, data: Any, name: str) -> None:
  """Refuses a sampler that is no function of its key: what numpy draws while it is traced is drawn only once."""
  first, second = (jax.make_jaxpr(lambda key, data: sample(key, data))(key, data) for _ in range(2))
  texts = [re.sub("0x[0-9a-f]+", "", str(traced.jaxpr)) for traced in (first, second)]
  pairs = zip(first.consts, second.consts, strict=False)
  if texts[0] != texts[1] or not all(np.array_equal(one, other) for one, other in pairs):
    raise Refused(
      f"{name}: sample gives other batches for the same key; draw with jax.random and the key, from nothing else"
    )


def check_batches(batches: Sequence[Any], task: Task, size: int, split: str, name: str) -> None:
  """Refuses a task by batches of `size` rows of a split, on the host: what is wrong, what is allowed."""
  where = f"{name}, split {split}:"
  for batch in batches:
    _check_shapes(batch, task, size, where)
    _check_values(batch, task, where)
  totals = [float(batch.weights_BTR.sum(dtype=np.float64)) for batch in batches]
  if not max(totals) > 0:
    raise Refused(f"{where} all weights are 0 in {len(totals)} batches of {size} rows; some target must count")
  if split == "train" and min(totals) < 1:
    raise Refused(
      f"{where} the weights of a batch of {size} rows sum to {min(totals):g}; allowed: 1 or more, for a smaller sum"
      " counts as 1 in the training loss: multiply all weights, or raise train.batch"
    )


def _check_shapes(batch: Any, task: Task, size: int, where: str) -> None:
  if not isinstance(batch, Batch) or not isinstance(batch.inputs, Inputs):
    raise Refused(f"{where} sample gives {type(batch).__name__}; allowed: Batch(Inputs(...), targets, weights, slice)")
  inputs, vocabulary = batch.inputs, task.vocabulary
  length = inputs.tokens_BTC.shape[1] if inputs.tokens_BTC.ndim > 1 else 0
  _array(inputs.tokens_BTC, (size, length, len(vocabulary.inputs)), np.int32, f"{where} tokens_BTC")
  answers = (size, length, vocabulary.readouts)
  _array(batch.targets_BTR, answers, np.int32, f"{where} targets_BTR")
  _array(batch.weights_BTR, answers, np.float32, f"{where} weights_BTR")
  _array(batch.slice_BTR, answers, np.int32, f"{where} slice_BTR")
  _check_positions(inputs.positions, size, length, f"{where} positions")
  if bool(vocabulary.source) != (inputs.source_BSC is not None):
    given = "a source" if inputs.source_BSC is not None else "no source"
    raise Refused(f"{where} sample gives {given}, the vocabulary has source={vocabulary.source}; let both agree")
  if inputs.source_BSC is not None:
    source = inputs.source_BSC.shape[1] if inputs.source_BSC.ndim > 1 else 0
    _array(inputs.source_BSC, (size, source, len(vocabulary.source)), np.int32, f"{where} source_BSC")
    _check_positions(inputs.source_positions, size, source, f"{where} source_positions")


def _check_positions(places: Any, size: int, length: int, what: str) -> None:
  for field in ("pos_BT", "segment_BT"):
    found = getattr(places, field, None)
    rows = found.shape[0] if found is not None and found.ndim == 2 and found.shape[0] == size else 1
    _array(found, (rows, length), np.int32, f"{what}.{field}")


def _array(found: Any, shape: tuple[int, ...], dtype: Any, what: str) -> None:
  if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != dtype:
    given = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
    raise Refused(f"{what} is {given}; allowed: {np.dtype(dtype)} {shape}")


def _check_values(batch: Batch, task: Task, where: str) -> None:
  weights_BTR, vocabulary = np.asarray(batch.weights_BTR), task.vocabulary
  if not np.isfinite(weights_BTR).all():
    raise Refused(f"{where} a weight is {weights_BTR[~np.isfinite(weights_BTR)][0]}; allowed: finite numbers from 0")
  if weights_BTR.min() < 0:
    raise Refused(f"{where} a weight is {weights_BTR.min():g}; allowed: 0 or more, 0 for what does not count")
  hint = ", also where the weight is 0"
  _within(batch.targets_BTR, vocabulary.outputs, f"{where} a target", hint)
  _within(batch.slice_BTR, max(1, len(task.slices)), f"{where} a slice", f", one of slices={task.slices!r}")
  inputs = batch.inputs
  for c, symbols in enumerate(vocabulary.inputs):
    _within(inputs.tokens_BTC[..., c], symbols, f"{where} a token of field {c}")
  for c, symbols in enumerate(vocabulary.source):
    _within(np.asarray(inputs.source_BSC)[..., c], symbols, f"{where} a source token of field {c}")
  for places in (inputs.positions, inputs.source_positions):
    if places is not None and np.asarray(places.segment_BT).min() < 0:
      raise Refused(f"{where} a segment is {np.asarray(places.segment_BT).min()}; allowed: 0 for nothing, or more")


def _within(found: Any, size: int, what: str, hint: str = "") -> None:
  values = np.asarray(found)
  wrong = values[(values < 0) | (values >= size)]
  if wrong.size:
    raise Refused(f"{what} is {wrong[0]}; allowed: 0 to {size - 1}{hint}")


def _sizes(vocabulary: Vocabulary) -> tuple[object, ...]:
  return (*vocabulary.inputs, vocabulary.outputs, vocabulary.readouts, *vocabulary.source)


def _positive(size: object) -> bool:
  return isinstance(size, int) and not isinstance(size, bool) and size > 0


def _number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
