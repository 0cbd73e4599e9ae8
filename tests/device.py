"""The accelerator's numbers against the CPU's, for the tests marked gpu.

They need a device beside the CPU (JAX_PLATFORMS=cuda,cpu). ASSAY_ACCELERATOR names the platform that they must find;
with ASSAY_ACCELERATOR=cpu the tests themselves are rehearsed, the CPU against itself.
"""

import os
from collections.abc import Callable

import jax
import numpy as np
import pytest

NAMED = "ASSAY_ACCELERATOR"
TOLERANCE = 2e-4  # of the largest number of an array, or of 1: rounding in full float32, sums in another order


def accelerator():
  """The device under test; the test is skipped where there is none."""
  first, named = jax.devices()[0], os.environ.get(NAMED)
  if named:
    assert first.platform == named, f"{NAMED}={named}, but jax computes on {first.platform}"
  elif first.platform == "cpu":
    pytest.skip("needs a GPU")
  return first


def agree(function: Callable, *arguments, tolerance: float = TOLERANCE) -> None:
  """function(*arguments) is a tree of arrays; it comes out the same on the accelerator and on the CPU."""
  close(*(on(device, function, *arguments) for device in (accelerator(), jax.devices("cpu")[0])), tolerance)


def on(device, function: Callable, *arguments):
  """What the function gives on a device, as numpy; products run in full float32."""
  with jax.default_device(device), jax.default_matmul_precision("highest"):
    found = function(*jax.device_put(arguments, device))
    assert all(leaf.devices() == {device} for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array))
    return jax.device_get(found)


def close(one, other, tolerance: float = TOLERANCE) -> None:
  """Two trees of arrays agree within the tolerance, leaf by leaf, and hold no NaN."""
  leaves = [jax.tree.leaves(side) for side in (one, other)]
  assert len(leaves[0]) == len(leaves[1]) > 0
  for a, b in zip(*leaves, strict=True):
    size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size)
    assert not np.isnan(b).any()
