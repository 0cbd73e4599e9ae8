"""Rows on residual connections and normalization: checks that a broken block fails, studies as declared."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.claims import depth as studies
from experiments.claims import grid
from experiments.claims.res import checks
from experiments.protocol import assess, catalog, reproduce, study
from experiments.protocol.claim import Check, Trial
from experiments.run.cohorts import cohort_key
from model import block, build, initial
from train import metrics
from train.step import parameters
from train.tasks.recall import Recall

ROWS = catalog.group("RES") + catalog.group("NORM")
EXACT = {"RES-4": "above", "NORM-1": "conditional", "NORM-5": "conditional"}  # the moderators were named beforehand
GRADIENTS = [claim for claim in ROWS if isinstance(claim.experiment, Check) and claim.id not in EXACT]
TRIALS = [claim for claim in ROWS if isinstance(claim.experiment, Trial)]


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.05 / 3).outcome


def asked(claim) -> set[str]:
  return reproduce.names(claim.experiment.test)


def samples(claim):
  module, function = claim.experiment.run.rsplit(".", 1)
  return getattr(importlib.import_module(f"experiments.claims.{module}"), function)()


def test_every_row_has_an_experiment():
  assert [claim.id for claim in ROWS if claim.experiment is None] == []


@pytest.fixture
def fresh(monkeypatch):
  """One shape is enough to see a fault, and nothing compiled before or with the fault may be used again."""
  monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[1:2])
  grid.forget()
  yield monkeypatch
  grid.forget()


@pytest.mark.parametrize("name", EXACT)
def test_our_blocks_pass_the_exact_checks(name, fresh):
  claim = catalog.by_id(name)
  found = samples(claim)
  assert asked(claim) <= set(found)
  assert {len(values) for values in found.values()} == {3}
  assert outcome(claim, found) == EXACT[name]


def not_added(add):
  def run(self, norm, x_BTM, y_BTM, key):
    return add(self, norm, x_BTM, y_BTM, key) - (x_BTM if self.wiring.norm == "pre" else 0.0)

  return run


def never_behind(add):
  def run(self, norm, x_BTM, y_BTM, key):
    return x_BTM + y_BTM

  return run


def not_centered(call):
  def run(self, x_BTM):
    return x_BTM / jnp.sqrt(jnp.square(x_BTM).mean(-1, keepdims=True)) * self.gain[...] + self.bias[...]

  return run


SABOTAGE = {
  "RES-4": (block.Block, "_add", not_added),
  "NORM-1": (block.LayerNorm, "__call__", not_centered),
  "NORM-5": (block.Block, "_add", never_behind),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_broken_block_fails(name, fresh):
  owner, method, broken = SABOTAGE[name]
  fresh.setattr(owner, method, broken(getattr(owner, method)))
  claim = catalog.by_id(name)
  assert outcome(claim, samples(claim)) == "below"


def test_one_layer_used_over_and_over_is_the_real_encoder():
  """Gradient at the input and states of a stack of two, in a stack of four whose upper half is switched off."""
  task = Recall(pairs=4, keys=6, values=6, queries=4, relations=1)
  options = checks.options("pre", residual=True)
  abstract, real = (nnx.eval_shape(lambda d=d: build.model(options | {"depth": d}, task.vocabulary)) for d in (1, 2))

  @functools.partial(jax.jit, compiler_options=grid.UNTUNED)
  def both(key):
    model, layers_L = checks.draw(abstract, key, 4, 0.7)
    batch = task.sample(key, 2)
    graphdef, params, _ = nnx.split(real, nnx.Param, ...)
    own = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    layers = dict(nnx.to_flat_state(layers_L))
    values = {
      path: layers[path[3:]][path[2]] if path[:2] == ("encoder", "layers") else own[path]
      for path, _ in nnx.to_flat_state(params)
    }
    whole = nnx.merge(graphdef, nnx.from_flat_state(values), initial.settings(real))

    def ours(x_BTM):
      return checks.loss(model, checks.climb(abstract, layers_L, jnp.arange(4) < 2, x_BTM), batch)

    def theirs(x_BTM):
      logits_BTRV = whole.readout(whole.encoder(x_BTM, batch.inputs.positions)[0])
      return metrics.cross_entropy(logits_BTRV, batch.targets_BTR, batch.weights_BTR)

    x_BTM = checks.embedded(model, batch.inputs)
    return jax.value_and_grad(ours)(x_BTM), jax.value_and_grad(theirs)(x_BTM)

  (loss, slope_BTM), (other, other_BTM) = jax.device_get(both(jax.random.key(0)))
  assert loss == pytest.approx(other, rel=1e-5)
  assert np.abs(slope_BTM).max() > 1e-4
  np.testing.assert_allclose(slope_BTM, other_BTM, rtol=1e-3, atol=1e-6)


def test_likeness_is_one_for_equal_tokens_and_none_for_orthogonal_ones():
  alike = jax.jit(checks.alike)
  assert alike(np.ones((1, 4, 4), np.float32)) == pytest.approx(1.0)
  assert alike(5.0 * np.eye(4, dtype=np.float32)[None]) == pytest.approx(0.0, abs=1e-6)


def told(slopes, alike):
  """`_by_depth` of stacks with these slopes and likenesses, by name; all else is flat and unlike."""

  def by_depth(wired):
    bends_N = np.random.default_rng(0).normal(0, 1e-3, 12)
    logs_ND = np.outer(slopes.get(wired.name, 0.0) + bends_N, checks.DEPTHS) - 2.0
    return logs_ND, alike.get(wired.name, 0.0) + bends_N

  return by_depth


DEEP = {"none, with": 0.9, "none, without": -0.5}  # log per layer
CASES = {
  "RES-1": [("conditional", DEEP, {}), ("below", {"none, with": 0.9}, {})],
  "RES-1b": [("above", {}, {"pre, without": 1.0, "post, without": 1.0}), ("below", {}, {})],
  "NORM-3": [("above", DEEP, {}), ("below", DEEP | {"post, with": -0.9}, {}), ("below", {"none, with": 0.9}, {})],
  "NORM-3b": [("above", DEEP, {}), ("below", DEEP | {"none, with, shrunk": 0.5}, {})],
}


@pytest.mark.parametrize("claim", GRADIENTS, ids=lambda claim: claim.id)
def test_rows_on_gradients_follow_the_slopes(claim, monkeypatch):
  for wanted, slopes, alike in CASES[claim.id]:
    monkeypatch.setattr(checks, "_by_depth", told(slopes, alike))
    found = checks.gradients()
    assert reproduce.names(claim.experiment.test) <= set(found)
    assert outcome(claim, found) == wanted


def test_slopes_are_told_apart_by_their_sign(monkeypatch):
  monkeypatch.setattr(checks, "_by_depth", told(DEEP, {}))
  found = {name: np.mean(values) for name, values in checks.gradients().items()}
  assert found["slope, none, without"] == pytest.approx(-0.5, abs=1e-2)
  assert found["vanishing, none, without"] == pytest.approx(0.5, abs=1e-2)
  assert found["exploding, none, without"] == 0.0
  assert found["exploding, none, with"] == pytest.approx(0.9, abs=1e-2)
  assert found["size, none, with"] == pytest.approx(0.9, abs=1e-2)


@pytest.mark.parametrize("claim", TRIALS, ids=lambda claim: claim.id)
def test_tests_read_arms_of_their_study(claim):
  for name in reproduce.names(claim.experiment.test):
    assert name.partition(":")[0] in claim.experiment.study.arms


def point(plan, arm, lr=1e-2, seed=100, split="test"):
  return study.point(plan, "small", arm, lr=lr, seed=seed, split=split)


def count(arm):
  config = point(studies.DEPTH, arm)
  return parameters(config, build.make("tasks", dict(config["task"]), package="train"))


def test_arms_are_matched_in_parameters():
  assert count("pre, 6") == count("pre, 6, no residual")
  assert count("none, 6") == count("none, 6, scaled")
  assert count("post, 6") / count("none, 6") == pytest.approx(1.0, abs=0.05)


def test_warm_up_and_scaled_weights_compile_nothing_new():
  pairs = [
    ((studies.DEPTH, "none, 6"), (studies.DEPTH, "none, 6, scaled")),
    ((studies.WARM_UP, "pre, constant"), (studies.WARM_UP, "pre, warm-up")),
  ]
  for one, other in pairs:
    assert cohort_key(point(*one)) == cohort_key(point(*other))


@pytest.mark.parametrize(("plan", "budget"), [(studies.DEPTH, studies.BUDGET), (studies.WARM_UP, studies.SHORT)])
def test_windows_lie_inside_the_grid_and_budgets_divide(plan, budget):
  assert set(plan.window) < set(plan.grid)
  for arm in plan.arms:
    config = point(plan, arm)
    assert config["train"]["steps"] == budget
    assert config["train"]["steps"] % config["eval"]["every"] == 0


def test_steps_saved_decide_the_trials():
  """Ten steps against sixty: above; the other way round: below."""
  claim, spread = catalog.by_id("RES-2"), np.random.default_rng(0).normal(0, 0.1, 12)
  cells = itertools.product((6, 2), (("", 10.0), (", no residual", 60.0)))
  found = {f"pre, {layers}{name}:t90_restricted": list(steps + spread) for layers, (name, steps) in cells}
  assert outcome(claim, found) == "above"
  swapped = {
    name.replace(", no residual", "") if "no" in name else name.replace(":", ", no residual:"): values
    for name, values in found.items()
  }
  assert outcome(claim, swapped) == "below"
