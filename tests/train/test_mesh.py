import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from model.errors import Refused
from train import mesh

CODE = """
import json, sys, tempfile
import jax, jax.numpy as jnp, numpy as np
from train import checkpoint, mesh

def step(grid):
  # E members fit y = w x by one gradient step each on the same B rows; `shared` has one row for all.
  def loss(w, batch):
    return ((batch["x"] @ w - batch["y"]) ** 2 * batch["shared"]).mean()
  def one(state, batch):
    batch = mesh.constrain_batch(batch, grid)
    value, grad = jax.value_and_grad(loss)(state, batch)
    return state - 0.1 * grad, value
  return jax.jit(jax.vmap(one, in_axes=(0, None)))

x = np.random.default_rng(0).normal(size=(8, 3)).astype("f")
batch = {"x": x, "y": x.sum(1), "shared": np.ones((1,), "f")}
state = np.random.default_rng(1).normal(size=(4, 3)).astype("f")
out = {"devices": jax.device_count(), "axes": {}, "diff": {}, "spec": {}}
alone = step(None)(state, batch)
for shape in ((1, 1), (4, 1), (2, 2), (1, 4)):
  grid = mesh.make(*shape)
  name = "x".join(map(str, shape))
  placed = mesh.shard_state(state, grid)
  result = step(grid)(placed, batch)
  out["axes"][name] = [t.name for t in grid.axis_types]
  out["spec"][name] = [sorted({s.data.shape for s in leaf.addressable_shards}) for leaf in (placed, result[0])]
  out["diff"][name] = max(float(abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(alone, result))
folder = tempfile.mkdtemp()
checkpoint.save(folder, 1, mesh.shard_state(state, mesh.make(4, 1)))
out["resumed"] = []
for shape in ((4, 1), (2, 2), (1, 1)):
  like = mesh.shard_state(np.zeros_like(state), mesh.make(*shape))
  again, _ = checkpoint.restore(folder, like)
  out["resumed"].append(bool((np.asarray(again) == state).all()) and again.sharding == like.sharding)
print(json.dumps(out))
"""


def test_four_devices_give_what_one_gives():
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
  env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
  done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  out = json.loads(done.stdout)
  assert out["devices"] == 4
  assert all(axes == ["Auto", "Auto"] for axes in out["axes"].values())
  assert out["spec"]["4x1"] == [[[1, 3]], [[1, 3]]]
  assert out["spec"]["2x2"] == [[[2, 3]], [[2, 3]]]
  assert max(out["diff"].values()) < 1e-5
  assert out["resumed"] == [True, True, True]


def test_too_few_devices_is_refused():
  with pytest.raises(Refused, match="needs 4096 devices"):
    mesh.make(64, 64)
  with pytest.raises(Refused, match="member=0"):
    mesh.make(0, 1)


class FakeMesh:
  shape = {"member": 2, "data": 4}  # noqa: RUF012


def test_what_does_not_divide_is_refused():
  with pytest.raises(Refused, match="no member axis"):
    mesh.shard_state({"a": jnp.zeros((3, 2))}, FakeMesh())
  with pytest.raises(Refused, match="30 rows"):
    mesh.constrain_batch(jnp.zeros((30, 2)), FakeMesh())


def test_one_data_device_changes_nothing():
  batch = {"a": jnp.ones((3,))}
  assert mesh.constrain_batch(batch, None) is batch
  assert mesh.constrain_batch(batch, mesh.make(1, 1)) is batch
  assert jax.tree.leaves(mesh.shard_state(batch, mesh.make(1, 1)))[0].shape == (3,)
