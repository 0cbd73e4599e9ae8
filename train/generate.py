"""Greedy generation with one member of an ensemble, compiled once per cohort and shape; what a task's judge calls."""

from collections.abc import Callable

import jax
import numpy as np

from model import decode
from model.errors import Refused
from train.state import Member, TrainState
from train.step import Ensemble


def generator(whole: Ensemble, state: TrainState, member: Member, index: int) -> Callable[..., np.ndarray]:
  """generate(source_BSC, source_positions, length) -> tokens_BT on the host, for the member at `index`."""
  state, member = jax.tree.map(lambda leaf: leaf[index], (state._replace(opt=()), member))

  def generate(source_BSC, source_positions, length):
    _admit(whole, source_positions, length)  # the compiled program cannot see the positions
    return np.asarray(whole.generate(state, member, source_BSC, source_positions, length))

  return generate


def rehearse(whole: Ensemble, split: str) -> None:
  """Refuses, before any training, what the task's judge would ask this model for in vain; computes nothing."""

  def generate(source_BSC, source_positions, length):
    _admit(whole, source_positions, length)
    return np.full((len(source_BSC), length), whole.task.stop, np.int32)

  try:
    whole.task.judge(generate, split)
  except Refused:
    raise
  except Exception:  # a judge may fail on answers that are all empty; what it asked for until then can be decoded
    return


def _admit(whole: Ensemble, positions, length: int) -> None:
  decode.check(whole.abstract, positions, start=whole.task.start, stop=whole.task.stop, length=length)
