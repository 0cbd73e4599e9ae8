"""What the tests marked gpu compare with would notice a difference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import device


def test_a_difference_is_seen():
  device.close({"a": np.ones(3)}, {"a": np.ones(3) + 1e-5})
  with pytest.raises(AssertionError):
    device.close({"a": np.ones(3)}, {"a": np.ones(3) + 1e-3})
  with pytest.raises(AssertionError):
    device.close({"a": np.full(3, np.nan)}, {"a": np.full(3, np.nan)})
  device.close(np.array([-np.inf, 100.0]), np.array([-np.inf, 100.001]))


def test_another_device_than_the_one_named_is_an_error(monkeypatch):
  monkeypatch.setenv(device.NAMED, "gpu")
  if jax.default_backend() == "cpu":
    with pytest.raises(AssertionError, match="jax computes on cpu"):
      device.agree(jnp.sin, np.ones(3))
  monkeypatch.setenv(device.NAMED, jax.default_backend())
  device.agree(jnp.sin, np.ones(3, np.float32))
