"""Members: alone, mapped, side by side and on a mesh they are the same run; arms are paired; resume is exact."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from model import build
from tests.train.tiny import tiny
from train.loop import fit
from train.step import Ensemble, cost, parameters

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole():
  config = tiny()
  return Ensemble(config, build.make("tasks", config["task"], package="train"))


def grid():
  return [tiny(seed=seed, optim__lr=lr) for seed in (0, 1) for lr in (1e-3, 3e-2)]


def same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_member_equals_the_same_run_alone_bit_for_bit(whole):
  together = fit(whole, grid(), (), ())
  for index, config in enumerate(grid()):
    alone = fit(whole, [config], (), ())
    assert alone.curves[0] == together.curves[index]
    trained = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], together.state.params)
    assert same(alone.state.params, trained)


def test_members_differ_by_seed_and_by_rate(whole):
  curves = fit(whole, grid(), (), ()).curves
  assert len({curve[-1]["loss"] for curve in curves}) == 4
  assert curves[0][0] == curves[1][0]  # same seed: same batches and same start, whatever the rate


def test_arms_with_another_mechanism_share_what_they_have_in_common(whole):
  config = tiny(model__attention__kind="additive")
  other = Ensemble(config, whole.task)
  ours, theirs = whole.init([tiny()]).params, other.init([config]).params
  shared = dict(jax.tree_util.tree_leaves_with_path(theirs))
  common = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(ours) if path in shared]
  assert len(common) == len(jax.tree.leaves(ours)) < len(shared)
  for path, leaf in common:
    np.testing.assert_array_equal(leaf, shared[path], err_msg=str(path))


def test_a_dial_given_by_a_member_equals_the_same_number_compiled_in(whole):
  # Unscaled and scaled share one compile; a cohort built from either config must train either member alike.
  unscaled = tiny(model__attention__scale=1.0)
  own = Ensemble(unscaled, whole.task)
  assert fit(whole, [unscaled], (), ()).curves == fit(own, [unscaled], (), ()).curves
  assert fit(whole, [unscaled], (), ()).curves != fit(whole, [tiny()], (), ()).curves


def test_resume_from_the_middle_is_bit_exact(whole):
  saved = {}

  def save(state, curves):
    saved["start"] = jax.tree.map(np.asarray, jax.device_get(state._replace(key=jax.random.key_data(state.key))))
    saved["curves"] = [list(curve) for curve in curves]

  calls = iter([False, True])
  stopped = fit(whole, [tiny()], (), (), save=save, stop=lambda: next(calls))
  assert stopped.stopped
  assert int(stopped.state.step[0]) == 4
  state = jax.tree.map(jax.numpy.asarray, saved["start"])
  state = state._replace(key=jax.random.wrap_key_data(state.key))
  resumed = fit(whole, [tiny()], (), (), start=(state, saved["curves"]))
  straight = fit(whole, [tiny()], (), ())
  assert resumed.curves == straight.curves
  assert same(resumed.state.params, straight.state.params)


def test_validation_and_test_are_different_streams(whole):
  validation, test = (fit(whole, [tiny(eval__split=split)], (), ()).curves[0] for split in ("validation", "test"))
  assert [row["train_loss"] for row in validation] == [row["train_loss"] for row in test]
  assert validation[-1]["loss"] != test[-1]["loss"]


def test_a_run_that_is_not_finite_ends_early_and_is_an_outcome(whole):
  fitted = fit(whole, [tiny(optim__lr=1e30, optim__clip=0.0)], (), ())
  assert not np.isfinite(fitted.curves[0][-1]["train_loss"])
  assert len(fitted.curves[0]) <= 5


def test_what_is_compiled_over_members_is_what_the_methods_say_of_one(whole):
  state, member = whole.init(grid()), whole.members(grid())
  one, alone = jax.tree.map(lambda leaf: leaf[1], (state, member))
  assert same(whole.draw(alone, ("glorot", "", (1.0, 1.0, 1.0))).params, one.params)
  sums = jax.tree.map(lambda leaf: leaf[1], whole.evaluate(state, member, ()))
  for found, expected in zip(jax.tree.leaves(whole.score(one, alone, ())), jax.tree.leaves(sums), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  state, losses_Ek, norms_Ek = whole.advance(state, member, ())
  step = jax.jit(whole.step)
  for index in range(tiny()["eval"]["every"]):
    one, (loss, norm) = step(one, alone, ())
    np.testing.assert_allclose((loss, norm), (losses_Ek[1, index], norms_Ek[1, index]), rtol=1e-4)
  assert int(one.step) == int(state.step[1]) == tiny()["eval"]["every"]


def test_costs_are_counted(whole):
  found = cost(whole, tiny(), ())
  by_hand = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(whole.init([tiny()]).params))
  assert found["parameters"] == parameters(tiny(), whole.task) == by_hand
  assert found["flops"] > 2 * 8 * (3 + 2) * by_hand / 4  # two flops per multiply, of the order of tokens x weights


MESH = """
import jax, numpy as np
from model import build
from tests.train.tiny import tiny
from train import mesh as meshes
from train.step import Ensemble
configs = [tiny(seed=0), tiny(seed=1)]
task = build.make("tasks", configs[0]["task"], package="train")
losses = []
for mesh in (None, meshes.make(members=2, data=2)):
  whole = Ensemble(configs[0], task, mesh=mesh)
  state, member = whole.init(configs), whole.members(configs)
  found = []
  for _ in range(3):
    state, losses_Ek, _ = whole.advance(state, member, ())
    found.append(np.asarray(losses_Ek))
  if mesh is not None:
    leaf = jax.tree.leaves(state.params)[0]
    assert len(leaf.sharding.device_set) == 4, leaf.sharding
    assert leaf.sharding.spec[0] == "member", leaf.sharding
  losses.append(np.concatenate(found, 1))
print(np.abs(losses[0] - losses[1]).max())
assert np.abs(losses[0] - losses[1]).max() < 1e-5
"""


def test_one_step_on_four_devices_equals_one_device():
  flags = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    [sys.executable, "-c", MESH], cwd=ROOT, env={**os.environ, **flags}, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
