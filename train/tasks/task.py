"""What a task is: a vocabulary, a pure stream of batches and the accuracies and losses that bound every model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")


class Batch(NamedTuple):
  """One batch: what the model reads, what it should say, how much each answer counts and how hard it is.

  Targets of weight 0 are placeholders. `slice_BTR` indexes the task's `slices`; it is 0 where there are none.
  """

  inputs: Inputs
  targets_BTR: jax.Array  # int32, below vocabulary.outputs
  weights_BTR: jax.Array  # float32
  slice_BTR: jax.Array  # int32


class Task:
  """Base of all tasks; a task is immutable once built.

  What a task reads is part of every trial's key, so that a changed file never gives an old result. It says so by any
  of: `needs`, packages of train/corpora, as a literal; `files`, paths beside the file of its class or absolute, as a
  literal: files = ("words.txt",); an option whose value is a file's path; `data_sha256`, for which the task is built
  once more before anything runs. What it opens and does not name is noted with the results, which run again when it
  has changed.

  `floor` is the accuracy of the best constant answer, `ceiling` the accuracy that no model can exceed on average,
  `exact_entropy` the least possible cross-entropy in nats per weighted target (None where nobody knows it).
  Where every target is the next input `asks_for_next` is True, of the class or, by an option, self.asks_for_next = not
  absolute: models that see both ways are then refused, for they would read the answer.
  `start` and `stop` are the symbols that begin and end a generated sequence (None where nothing is generated).
  """

  vocabulary: Vocabulary
  floor: float
  ceiling: float
  exact_entropy: float | None = None
  slices: tuple[str, ...] = ()
  needs: tuple[str, ...] = ()  # packages whose files the task reads
  files: tuple[str, ...] = ()  # other files that it reads
  start: int | None = None
  stop: int | None = None
  asks_for_next: bool = False

  def data(self, split: str) -> Any:
    """Arrays that `sample` reads for a split; empty for tasks that are drawn afresh every time."""
    check_split(split)
    return ()

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """A batch of `size` rows: pure, jittable, the same for the same key."""
    raise TypeError(f"{type(self).__name__} draws no batches")

  def judge(self, generate: Callable[..., np.ndarray], split: str) -> Mapping[str, float]:
    """Metrics that need decoding, taken once at the end of a run; none by default.

    A task that judges says what it will return, as a literal of its class that is read without running it: each name
    with which way is better, "max", "min" or "" where neither is, such as judged = {"wer": "min"}.
    """
    check_split(split)
    return {}

  def data_sha256(self) -> dict[str, str]:
    """Hash of every file read, by package or any other name."""
    return {}


def check_split(split: str) -> None:
  """Refuse anything but the three splits."""
  if split not in SPLITS:
    raise Refused(f"split is {split!r}; allowed: {', '.join(SPLITS)}")


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
  """`value` if it is a whole number within [low, high], else Refused."""
  if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
    allowed = f"{low} or more" if high is None else f"{low} to {high}"
    raise Refused(f"task.{name} is {value!r}; allowed: a whole number, {allowed}")
  return value


def real(name: str, value: object, low: float, high: float) -> float:
  """`value` as a float if it lies within [low, high], else Refused."""
  if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
    raise Refused(f"task.{name} is {value!r}; allowed: a number from {low:g} to {high:g}")
  return float(value)


def flag(name: str, value: object) -> bool:
  """`value` if it is a bool, else Refused."""
  if not isinstance(value, bool):
    raise Refused(f"task.{name} is {value!r}; allowed: True or False")
  return value
