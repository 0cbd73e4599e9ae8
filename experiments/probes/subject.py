"""What a probe may look at."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import nnx

from train.tasks.task import Batch


class Subject(NamedTuple):
  """One finished run. A probe is a module with `read(subject) -> {key: number}`; it must not change the models."""

  model: nnx.Module
  untrained: nnx.Module  # the same member at step 0
  task: Any
  config: Mapping[str, Any]
  batch: Callable[[int], Batch]  # fresh batches of the test stream, by number
