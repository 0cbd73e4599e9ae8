"""One mesh of two axes: `member` packs independent runs, `data` splits their batches. Plain jit places the work.

Members never talk to each other; over `data` the compiler inserts the sums that gradients need.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from model.errors import Refused

AXES = ("member", "data")


def make(members: int = 1, data: int = 1) -> Mesh:
  """A mesh over the first members * data devices. Refused when there are fewer.

  Axes are Auto: jax would default to Explicit, under which every ambiguous contraction is an error.
  """
  count, there = members * data, jax.device_count()
  if members < 1 or data < 1 or count > there:
    raise Refused(f"a mesh of member={members} x data={data} needs {count} devices, this machine has {there}; lower it")
  return jax.make_mesh((members, data), AXES, axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:count])


def state_sharding(mesh: Mesh) -> NamedSharding:
  """For leaves whose axis 0 is the member E."""
  return NamedSharding(mesh, P("member"))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """For leaves whose axis 0 is the batch B."""
  return NamedSharding(mesh, P("data"))


def shard_state(state: Any, mesh: Mesh) -> Any:
  """Places a pytree whose leaves all have the member axis in front (E must divide by the mesh's member axis)."""
  parts = mesh.shape["member"]
  for leaf in jax.tree.leaves(state):
    if np.ndim(leaf) == 0 or np.shape(leaf)[0] % parts:
      raise Refused(f"{np.shape(leaf)} has no member axis that divides over {parts} devices; change members or mesh")
  return jax.device_put(state, state_sharding(mesh))


def constrain_batch(batch: Any, mesh: Mesh | None) -> Any:
  """Inside jit: splits axis 0 of every leaf over `data`; leaves with one row (shared positions) stay whole.

  Under a vmap over members the member axis stays as the state has it. A mesh of None or of one data device changes
  nothing. Refused when the batch does not divide.
  """
  parts = 1 if mesh is None else mesh.shape["data"]
  if mesh is None or parts == 1:
    return batch

  def split(leaf):
    if leaf.ndim == 0 or leaf.shape[0] == 1:
      return leaf
    if leaf.shape[0] % parts:
      raise Refused(f"a batch of {leaf.shape[0]} rows does not divide over {parts} devices; choose a multiple")
    return jax.lax.with_sharding_constraint(leaf, batch_sharding(mesh))

  return jax.tree.map(split, batch)
