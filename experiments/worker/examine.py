"""What a worker looks at before it trains on a task or with a class that a user may have written."""

import contextlib
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from experiments.worker import brief
from model import schema
from model.errors import Refused
from train import sanity
from train.state import STREAMS

_seen: set[str] = set()  # tasks and splits whose batches this process has looked at


@contextlib.contextmanager
def no_exit() -> Iterator[None]:
  """A class that ends the program when it is built is refused; the command goes on to say so."""
  try:
    yield
  except SystemExit as end:
    raise Refused(
      f"a class of this config ends the program (sys.exit {end.code}) when it is built; correct it"
    ) from None


def judge(task: Any, config: Mapping[str, Any], split: str) -> None:
  """Raises Refused, before any training, for a task's judge that takes or returns what no judge does.

  It is asked about empty answers; one that cannot judge them is left alone. Names are those that its class states.
  """
  kind, stated = f"task.kind={config['task']['kind']}", [str(name) for name in getattr(task, "judged", ())]
  try:
    inspect.signature(task.judge).bind(None, split)
  except TypeError as error:
    raise Refused(f"{kind}: its judge does not fit ({error}); write judge(self, generate, split)") from None

  def empty(source, positions, length):
    return np.full((len(source), length), task.stop or 0, np.int32)

  try:
    found = [str(name) for name in task.judge(empty, split)]
  except Exception:
    return
  for name in (one for one in found if stated and one not in stated):
    hint = schema.suggestion(name, stated)
    raise Refused(
      f"{kind}: its judge returns {name!r}: {hint}judged states {', '.join(stated)}; use the same names in both"
    )


def batches(task: Any, data: Any, config: Mapping[str, Any], split: str) -> None:
  """Looks at a task's first batches of a split, once per process. Raises Refused for what would give wrong numbers."""
  size, name = config["train"]["batch"], f"task.kind={config['task']['kind']}"
  known = json.dumps([config["task"], size, split], sort_keys=True)
  if known in _seen:
    return
  root = jax.random.fold_in(jax.random.key(config["seed"]), STREAMS[split])
  sanity.check_pure(lambda key, data: task.sample(key, size, data), root, data, name)
  draw = jax.jit(lambda key, data: task.sample(key, size, data))
  if jax.default_backend() == "cpu":
    draw = brief.Brief(draw, brief.QUICK)
  drawn = [draw(jax.random.fold_in(root, index), data) for index in range(sanity.BATCHES)]
  sanity.check_batches(jax.device_get(drawn), task, size, split, name)
  _seen.add(known)
