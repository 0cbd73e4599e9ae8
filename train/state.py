"""What a run is made of between two steps: a plain pytree, so it maps, shards and saves as it is."""

from typing import Any, NamedTuple

import jax

from train.optim import Hyper

# One independent random stream per use, split off a member's root key by fold_in.
STREAMS = {"init": 0, "train": 1, "validation": 2, "test": 3, "dropout": 4}


class TrainState(NamedTuple):
  """All that a bit-exact resume needs; with a leading member axis E inside an ensemble."""

  step: jax.Array  # int32
  key: jax.Array  # the member's root key, never advanced: step t uses fold_in(stream, t)
  params: Any  # pure nnx.State of float32 arrays
  opt: Any  # optax state


class Member(NamedTuple):
  """All that may differ between the members of one cohort without another compile."""

  seed: jax.Array  # int32
  hyper: Hyper
  dials: dict[str, jax.Array]  # path in the model -> float
  split: jax.Array  # stream of the evaluation batches: STREAMS["validation"] or STREAMS["test"]


def stream(key: jax.Array, name: str) -> jax.Array:
  """The key of one named stream of a member."""
  return jax.random.fold_in(key, STREAMS[name])
