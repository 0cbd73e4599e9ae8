"""Greedy generation with one member of an ensemble, compiled once per shape; what a task's judge calls."""

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from model import decode
from train.state import Member, TrainState
from train.step import Ensemble, dial_state


def generator(whole: Ensemble, state: TrainState, member: Member, index: int) -> Callable[..., np.ndarray]:
  """generate(source_BSC, source_where, length) -> tokens_BT on the host, for the member at `index`."""
  params, dials = jax.tree.map(lambda leaf: leaf[index], (state.params, member.dials))
  task = whole.task

  def generate(source_BSC, source_where, length: int) -> np.ndarray:
    model = nnx.merge(whole.graphdef, params, dial_state(dials))
    tokens_BT = decode.greedy(model, source_BSC, source_where, start=task.start, stop=task.stop, length=length)
    return np.asarray(tokens_BT)

  return generate
