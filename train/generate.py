"""Greedy generation with one member of an ensemble, compiled once per cohort and shape; what a task's judge calls."""

from collections.abc import Callable

import jax
import numpy as np

from train.state import Member, TrainState
from train.step import Ensemble


def generator(whole: Ensemble, state: TrainState, member: Member, index: int) -> Callable[..., np.ndarray]:
  """generate(source_BSC, source_where, length) -> tokens_BT on the host, for the member at `index`."""
  state, member = jax.tree.map(lambda leaf: leaf[index], (state._replace(opt=()), member))
  return lambda source_BSC, source_where, length: np.asarray(
    whole.generate(state, member, source_BSC, source_where, length)
  )
