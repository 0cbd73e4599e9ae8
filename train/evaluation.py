"""A trained member measured on a split: what the loop reports, and the task's own judge."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from train import metrics
from train.generate import generator
from train.state import STREAMS, Member, TrainState
from train.step import Ensemble


def measure(
  whole: Ensemble, state: TrainState, member: Member, task: Any, config: Mapping[str, Any], split: str
) -> dict[str, float]:
  """Loss, accuracy and slices of the first member on a split, and the judge's metrics where the config asks for it."""
  data = jax.tree.map(jnp.asarray, task.data(split))
  there = member._replace(split=jnp.full_like(member.split, STREAMS[split]))
  sums = jax.tree.map(lambda leaf: leaf[0], jax.device_get(whole.evaluate(state, there, data)))
  found = metrics.means(sums, task.slices)
  if config["eval"]["judge"]:
    found |= task.judge(generator(whole, state, member, 0), split)
  return found
