import os
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.errors import Refused
from train import checkpoint


class State(NamedTuple):
  step: jax.Array
  key: jax.Array
  params: dict
  opt: tuple


def state(seed=0):
  key = jax.random.key(seed)
  params = {
    "a/b": jax.random.normal(key, (3, 4)),
    "half": jax.random.normal(key, (5,), jnp.bfloat16),
    "ids": jnp.arange(6, dtype=jnp.int8).reshape(2, 3),
    "mask": jnp.array([True, False]),
    "odd": jnp.array([jnp.nan, jnp.inf, -0.0]),
    "empty": jnp.zeros((0, 3)),
    "list": [jnp.float32(seed), (jnp.uint32(7),)],
  }
  return State(jnp.int32(seed), jax.random.split(key, 3), params, optax.adam(1e-3).init(params["a/b"]))


def assert_same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def refused(call, *words):
  with pytest.raises(Refused) as told:
    call()
  assert "\n" not in str(told.value)
  for word in words:
    assert word in str(told.value)


def test_the_round_trip_is_exact_to_the_bit(tmp_path):
  extra = {"best": [0.1, float("inf")], "why": "ä"}
  checkpoint.save(tmp_path, 7, state(3), extra)
  tree, again = checkpoint.restore(tmp_path, state(0))
  assert_same(tree, state(3))
  assert again == extra
  assert_same(checkpoint.restore(tmp_path, jax.eval_shape(state))[0], state(3))


def test_host_leaves_come_back_as_host_leaves(tmp_path):
  tree = {"int": 3, "float": 0.1, "flag": True, "wide": np.arange(3, dtype=np.int64), "scalar": np.float64(0.1)}
  checkpoint.save(tmp_path, 0, tree)
  again, _ = checkpoint.restore(tmp_path, tree)
  assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in tree.items()}
  assert all(np.array_equal(again[k], tree[k]) and np.result_type(again[k]) == np.result_type(tree[k]) for k in tree)


def test_a_tree_without_arrays(tmp_path):
  checkpoint.save(tmp_path, 0, {"a": (), "b": jnp.zeros((0,))}, {"x": 1})
  tree, extra = checkpoint.restore(tmp_path, {"a": (), "b": jnp.zeros((0,))})
  assert (tree["a"], tree["b"].shape, extra) == ((), (0,), {"x": 1})


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_every_kind_draw_the_same(tmp_path, impl):
  key = jax.random.key(5, impl=impl)
  checkpoint.save(tmp_path, 0, key)
  for like in (jax.random.key(0, impl=impl), jax.eval_shape(lambda: key)):
    again, _ = checkpoint.restore(tmp_path, like)
    np.testing.assert_array_equal(jax.random.normal(again, (4,)), jax.random.normal(key, (4,)))
  other = jax.random.key(0, impl="rbg" if impl == "threefry2x32" else "threefry2x32")
  refused(lambda: checkpoint.restore(tmp_path, other), "key<")


def test_the_last_two_steps_are_kept_and_given_up_ones_go(tmp_path):
  for step in (1, 2, 10, 9):
    checkpoint.save(tmp_path, step, state(step))
    assert checkpoint.latest(tmp_path) == step
  assert sorted(os.listdir(tmp_path)) == ["2", "9"]
  assert_same(checkpoint.restore(tmp_path, state(), step=2)[0], state(2))
  refused(lambda: checkpoint.restore(tmp_path, state(), step=5), "no step 5", "2, 9")


def test_a_step_may_be_saved_again(tmp_path):
  for seed in (1, 2):
    checkpoint.save(tmp_path, 4, state(seed))
  assert os.listdir(tmp_path) == ["4"]
  assert_same(checkpoint.restore(tmp_path, state())[0], state(2))
  os.rename(tmp_path / "4", tmp_path / "4.replaced")  # killed between the two renames
  assert checkpoint.latest(tmp_path) == 4
  assert_same(checkpoint.restore(tmp_path, state())[0], state(2))


def test_an_empty_or_absent_folder(tmp_path):
  assert checkpoint.latest(tmp_path / "none") is None
  refused(lambda: checkpoint.restore(tmp_path / "none", state()), "no checkpoint")


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda p: p | {"half": p["half"].astype(jnp.float32)}, ("bfloat16[5]", "float32[5]", "half")),
    (lambda p: p | {"a/b": jnp.zeros((4, 3))}, ("float32[3,4]", "float32[4,3]")),
    (lambda p: p | {"new": jnp.zeros(2)}, ("nothing", "float32[2]", "new")),
    (lambda p: {k: v for k, v in p.items() if k != "mask"}, ("bool[2]", "nothing", "mask")),
    (lambda p: p | {"list": p["list"][::-1]}, ("list",)),
  ],
)
def test_another_tree_shape_or_dtype_is_refused(tmp_path, change, words):
  checkpoint.save(tmp_path, 1, state())
  like = state()._replace(params=change(state().params))
  refused(lambda: checkpoint.restore(tmp_path, like), *words)


def every_file(folder):
  return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "add"])
def test_no_damage_is_silent_and_the_step_before_is_used(tmp_path, damage):
  whole = tmp_path / "whole"
  checkpoint.save(whole, 1, state(1))
  checkpoint.save(whole, 2, state(2))
  files = [path.relative_to(whole) for path in every_file(whole / "2")]
  draw = random.Random(damage)
  for turn in range(30):
    folder = tmp_path / str(turn)
    shutil.copytree(whole, folder)
    victim = folder / draw.choice(files)
    data = bytearray(victim.read_bytes())
    if damage == "flip":
      data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
      victim.write_bytes(data)
    elif damage == "truncate":
      victim.write_bytes(data[: draw.randrange(len(data))])
    elif damage == "delete":
      victim.unlink()
    else:
      victim.with_name(f"extra{turn}").write_bytes(data)
    told = []
    if turn % 10:
      with pytest.raises(checkpoint.manifest.Damaged):
        checkpoint.manifest.opened(folder / "2")
      continue
    tree, _ = checkpoint.restore(folder, state(), warn=told.append)
    assert_same(tree, state(1))
    assert len(told) == 1
    assert str(folder / "2") in told[0]
    refused(lambda folder=folder: checkpoint.restore(folder, state(), step=2), str(folder / "2"), "no undamaged step")


def test_links_are_damage(tmp_path):
  checkpoint.save(tmp_path, 1, state())
  victim = every_file(tmp_path / "1" / "state")[0]
  shutil.move(victim, tmp_path / "elsewhere")
  victim.symlink_to(tmp_path / "elsewhere")
  refused(lambda: checkpoint.restore(tmp_path, state()), str(victim))
  victim.unlink()
  shutil.move(tmp_path / "elsewhere", victim)
  (tmp_path / "1" / "loop").symlink_to(tmp_path)
  refused(lambda: checkpoint.restore(tmp_path, state()), "loop was added later")


def test_arrays_other_than_the_manifest_tells_are_refused_unread(tmp_path):
  checkpoint.save(tmp_path, 1, {"a": jnp.zeros(4)})
  checkpoint.save(tmp_path / "other", 1, {"a": jnp.zeros(5)})
  body = checkpoint.manifest.opened(tmp_path / "1")
  shutil.rmtree(tmp_path / "1" / "state")
  shutil.copytree(tmp_path / "other" / "1" / "state", tmp_path / "1" / "state")
  checkpoint.manifest.seal(tmp_path / "1", {key: body[key] for key in ("step", "tree", "extra")})
  refused(lambda: checkpoint.restore(tmp_path, {"a": jnp.zeros(4)}), "not those of the manifest")


SAVER = """
import sys
import jax
from tests.train.test_checkpoint import state
from train import checkpoint
print("ready", flush=True)
for step in range(1, 10**6):
  checkpoint.save(sys.argv[1], step, state(step))
  print(step, flush=True)
"""


@pytest.mark.parametrize("turns", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_the_last_finished_step(tmp_path, turns):
  draw = random.Random(turns)
  for turn in range(turns):
    folder = tmp_path / str(turn)
    saver = subprocess.Popen([sys.executable, "-c", SAVER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert saver.stdout is not None
    while saver.stdout.readline().strip() != "1":
      assert saver.poll() is None
    time.sleep(draw.uniform(0.0, 0.6))
    saver.send_signal(signal.SIGKILL)
    lines = saver.stdout.read().split()
    saver.stdout.close()
    saver.wait()
    told = int(lines[-1]) if lines else 1
    latest = checkpoint.latest(folder)
    assert latest is not None
    assert told <= latest <= told + 1
    warned = []
    tree, _ = checkpoint.restore(folder, state(), warn=warned.append)
    assert not warned
    assert_same(tree, state(latest))
    checkpoint.save(folder, latest + 1, state(latest + 1))  # and what was left half-written is swept
    assert {str(latest), str(latest + 1)} == set(os.listdir(folder))


FULL = """
import resource, sys
import jax
from model.errors import Refused
from train import checkpoint
noise = {"x": jax.random.normal(jax.random.key(0), (20_000,))}
checkpoint.save(sys.argv[1], 1, noise)
for limit in map(int, sys.argv[2:]):
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
  try:
    checkpoint.save(sys.argv[1], 2, noise)
  except Refused as told:
    print(told)
"""


def test_a_disk_that_fills_up_is_refused_in_one_line(tmp_path):
  limits = ["0", "100", "5000", "20000"]
  done = subprocess.run(
    [sys.executable, "-c", FULL, str(tmp_path), *limits], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-1000:]
  lines = done.stdout.splitlines()
  assert len(lines) == len(limits)
  for line in lines:
    assert line.startswith("step 2 cannot be saved")
    assert "earlier steps are intact" in line
  assert os.listdir(tmp_path) == ["1"]
  noise = {"x": jax.random.normal(jax.random.key(0), (20_000,))}
  assert_same(checkpoint.restore(tmp_path, noise)[0], noise)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("")
  refused(lambda: checkpoint.save(tmp_path / "file", 1, state()), "cannot be saved")
  checkpoint.save(tmp_path / "run", 1, state(1))

  def read_only(*_, **__):
    raise OSError(30, "Read-only file system")

  monkeypatch.setattr(checkpoint.Path, "mkdir", read_only)
  refused(lambda: checkpoint.save(tmp_path / "run", 2, state()), "Read-only file system")
  assert checkpoint.latest(tmp_path / "run") == 1


def test_importing_checkpoint_does_not_import_orbax():
  code = "import sys, train.checkpoint; sys.exit('orbax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
