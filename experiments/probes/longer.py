"""What a trained model is worth on rows longer than those it was trained on (Press et al. 2022): same task, new length.

Every position of a longer row counts, also those that a shorter row has; `slices` of a task do not matter here.
"""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.probes import recording
from experiments.probes.subject import Subject
from model import build
from model.errors import Refused
from train import metrics
from train.state import STREAMS

TIMES = (2, 4)
FIRST = 2000  # batches below this number belong to other readers of the test stream
KEYS = ("loss_2x", "accuracy_2x", "loss_4x", "accuracy_4x")


def read(subject: Subject) -> dict[str, float]:
  """loss_2x, accuracy_2x, loss_4x, accuracy_4x: on as many rows of 2 and 4 times `task.length` as an evaluation takes.

  All models of one seed and task read the same rows. Rows of a learned table that no training row reached hold their
  first, random values.
  """
  task, evaluation = dict(subject.config["task"]), subject.config["eval"]
  if "length" not in task:
    raise Refused(
      f"probe longer needs a task with the option length, task.kind={task['kind']} has none; drop the probe"
    )
  _check_table(subject.config["model"]["position"], max(TIMES) * task["length"])
  graph, state = recording.split(subject.model)
  root = jax.random.fold_in(jax.random.key(subject.config["seed"]), STREAMS["test"])
  numbers = {}
  for index, times in enumerate(TIMES):
    options = json.dumps(task | {"length": times * task["length"]}, sort_keys=True)
    key, size = jax.random.fold_in(root, FIRST + index), evaluation["batches"] * evaluation["batch"]
    rows = _rows(options, key, size, (max(TIMES) - times) * task["length"])
    found = metrics.means(jax.device_get(_score(graph, state, rows)), ("all",))
    numbers |= {f"loss_{times}x": found["loss"], f"accuracy_{times}x": found["accuracy"]}
  return numbers


def _check_table(position: dict[str, Any], longest: int) -> None:
  """Refuses a table that ends before the longest row does: its answers would be NaN."""
  if position.get("length", longest) < longest:
    raise Refused(
      f"model.position.length={position['length']} ends before the rows of {longest} that probe longer reads;"
      f" give {longest} or more"
    )


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _rows(options: str, key: jax.Array, size: int, empty: int):
  """Rows of a task, with so many empty places (segment 0) at their ends that all lengths share a compiled program."""
  rows = build.make("tasks", json.loads(options), package="train").sample(key, size)
  return jax.tree.map(lambda a: jnp.pad(a, [(0, 0), (0, empty)] + [(0, 0)] * (a.ndim - 2)), rows)


@functools.partial(jax.jit, static_argnums=0)
def _score(graph: nnx.GraphDef, state: nnx.State, batch) -> metrics.Sums:
  logits_BTRV, _ = nnx.merge(graph, state)(batch.inputs)
  return metrics.score(logits_BTRV, batch.targets_BTR, batch.weights_BTR, 0 * batch.slice_BTR, 1)
