"""Rows on scaling: their checks against independent formulas, derivatives and broken models; what their arms share."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.claims import scores as _scores
from experiments.claims.scale import checks
from experiments.protocol import assess, catalog, reproduce, study
from experiments.protocol.claim import Check, Probe, Trial
from experiments.run.cohorts import cohort_key, trial_key
from model import initial, mask
from model.attention.dot import Dot
from model.heads import Heads
from train import metrics

ROWS = catalog.group("SCALE") + catalog.group("ADD")
CHECKED = [claim for claim in catalog.group("SCALE") if isinstance(claim.experiment, Check)]
TRAINED = [claim for claim in ROWS if isinstance(claim.experiment, Trial)]
STUDIES = {claim.experiment.study.name: claim.experiment.study for claim in TRAINED}
SCORES = arrays(np.float64, (3, 6), elements=st.floats(-30, 30))


@pytest.fixture(scope="module")
def samples():
  """Samples of a check, each function run once."""
  found = {}

  def of(claim):
    module, function = claim.experiment.run.rsplit(".", 1)
    if claim.experiment.run not in found:
      found[claim.experiment.run] = getattr(importlib.import_module(f"experiments.claims.{module}"), function)()
    return found[claim.experiment.run]

  return of


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.05 / 3).outcome


def test_every_row_has_an_experiment():
  assert [claim.id for claim in ROWS if claim.experiment is None] == []


@pytest.mark.parametrize("claim", CHECKED, ids=lambda claim: claim.id)
def test_a_check_brings_what_its_row_asks(claim, samples):
  found = samples(claim)
  assert reproduce.names(claim.experiment.test) <= set(found)
  assert all(isinstance(value, float) and np.isfinite(value) for values in found.values() for value in values)
  assert outcome(claim, found) != "unclear"  # drawn numbers cost nothing: there are enough to decide


@pytest.mark.parametrize("name", ["SCALE-1", "SCALE-3", "SCALE-7"])
def test_what_theory_proves_comes_out(name, samples):
  claim = catalog.by_id(name)
  assert outcome(claim, samples(claim)) == "above"


@jax.jit
def differentiated(score_TS):
  return jax.vmap(jax.jacfwd(jax.nn.softmax))(score_TS), jax.scipy.special.entr(jax.nn.softmax(score_TS)).sum(-1)


@given(SCORES)
def test_softmax_jacobian_norm_and_entropy_against_differentiation(score_TS):
  a_TS = checks.softmax(score_TS)
  with jax.enable_x64(True):
    jacobian_TSS, entropy_T = map(np.asarray, differentiated(score_TS))
  norm_T = np.linalg.norm(jacobian_TSS, axis=(1, 2))
  np.testing.assert_allclose(checks.jacobian_norm(a_TS), norm_T, rtol=1e-9, atol=1e-15)
  np.testing.assert_allclose(checks.entropy(a_TS), entropy_T, rtol=1e-9, atol=1e-12)


def test_a_tiny_jacobian_keeps_its_size():
  """Where one score leads by x, the norm is 2 exp(-x) for two keys, far below what 1 - a could tell."""
  norm_T = checks.jacobian_norm(checks.softmax(np.array([[50.0, 0.0], [200.0, 0.0]])))
  np.testing.assert_allclose(norm_T, 2 * np.exp([-50.0, -200.0]), rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_gradient_at_the_query_against_the_mechanism(factor):
  random = np.random.default_rng(0)
  q_BTD, k_BSD, v_BSD, g_BTD = (random.standard_normal((2, 5, 4)).astype(np.float32) for _ in range(4))
  mechanism = initial.realize(lambda: Dot(1, 4, scale=factor))
  whole = mask.Mask(mask.rows(5), mask.rows(5), mask.everything())

  def loss(q_BTD):
    out = mechanism(q_BTD[:, :, None, None], k_BSD[:, :, None], v_BSD[:, :, None], whole)[0]
    return (out[:, :, 0, 0] * g_BTD).sum()

  with jax.default_matmul_precision("highest"):
    slope_BTD = jax.jit(jax.grad(loss))(q_BTD)
  found_BT = checks._at_query(q_BTD, k_BSD, g_BTD @ np.swapaxes(v_BSD, 1, 2), factor)
  np.testing.assert_allclose(found_BT, np.linalg.norm(slope_BTD, axis=-1), rtol=1e-5)


@pytest.mark.parametrize(
  ("scheme", "width", "variance"), [("lecun", 32, 32), ("torch", 72, 8), ("torch_mha", 8, 2), ("glorot", 64, 64)]
)
def test_variance_formula_on_known_cases(scheme, width, variance):
  assert checks._formula(scheme, width) == pytest.approx(variance)


def test_glorot_shrinks_scores_of_keys_wider_than_the_model():
  """4 D^2 / d_k in the limit, so that doubling the keys halves the variance."""
  assert checks._formula("glorot", 2**20) == pytest.approx(4 * 64**2 / 2**20, rel=1e-3)


def test_the_check_of_first_weights_reads_the_real_ones(monkeypatch):
  draw = initial.draw
  monkeypatch.setattr(initial, "draw", lambda params, key, init: draw(params, key, init | {"qk_gain": 2.0}))
  monkeypatch.setattr(checks, "SEEDS", range(3))
  monkeypatch.setattr(checks, "SCHEMES", ("torch_mha",))
  found = checks.initialization()
  assert np.mean(found["log2 of measured over formula, torch mha"]) == pytest.approx(4.0, abs=0.2)


def test_correlated_entries_do_not_pass_for_independent(monkeypatch):
  monkeypatch.setattr(checks, "SEEDS", range(3))

  def alike(random, shape, dtype):
    return np.broadcast_to(random.standard_normal((shape[0], 1), dtype=dtype), shape)

  monkeypatch.setattr(checks, "_uniform", alike)
  claim = catalog.by_id("SCALE-1")
  assert outcome(claim, checks.variance()) == "below"


# ---------------------------------------------------------------------------------------------------------------------
# Trained rows, additive ones too: the arms, not their results.


def point(plan, arm, **given):
  (tier,) = plan.tiers
  return study.point(plan, tier, arm, **({"lr": 1e-2, "seed": 0, "split": "validation"} | given))


@pytest.mark.parametrize("claim", TRAINED, ids=lambda claim: claim.id)
def test_tests_read_arms_and_measures_that_exist(claim):
  plan = claim.experiment.study
  known = set(metrics.summary([{"step": 0, "loss": 1.0, "accuracy": 0.0, "grad_norm_max": 1.0}] * 2, 1))
  read = set()
  for name in reproduce.names(claim.experiment.test):
    arm, _, measure = name.partition(":")
    read.add(arm)
    assert arm in plan.arms
    assert not measure or measure in known or measure.startswith("probe.entropy.")
    assert isinstance(claim.experiment, Probe) or not measure.startswith("probe.")


def test_no_arm_is_trained_in_vain():
  for plan in STUDIES.values():
    tests = [claim.experiment.test for claim in TRAINED if claim.experiment.study is plan]
    assert {name.partition(":")[0] for test in tests for name in reproduce.names(test)} == set(plan.arms)


@pytest.mark.parametrize("plan", STUDIES.values(), ids=lambda plan: plan.name)
def test_scale_gain_and_first_weights_share_a_program(plan):
  keys = {}
  for arm in plan.arms:
    config = point(plan, arm)
    shape = (config["model"]["attention"]["kind"], config["model"]["head_dim"], config["model"]["width"])
    keys.setdefault((*shape, str(config["task"])), set()).add(cohort_key(config))
  assert all(len(found) == 1 for found in keys.values())
  assert len(set.union(*keys.values())) == len(keys)


def test_equal_arms_of_two_studies_are_one_trial():
  for one, other in ((_scores.MECHANISMS, _scores.INITS), (_scores.MECHANISMS, _scores.GAIN)):
    shared = set(one.arms) & set(other.arms)
    assert len(shared) == 2
    assert all(trial_key(point(one, arm), {}) == trial_key(point(other, arm), {}) for arm in shared)


def test_arms_differ():
  for plan in STUDIES.values():
    assert len({trial_key(point(plan, arm), {}) for arm in plan.arms}) == len(plan.arms)


def first_outputs(arm):
  """Outputs of the arm's attention layer as drawn from seed 0."""
  options = point(_scores.INITS, arm)["model"]
  sizes = {name: options[name] for name in ("heads", "head_dim", "value_dim")}
  build = partial(Heads, options["width"], mechanism=options["attention"], **sizes)
  x_BTM = np.random.default_rng(0).standard_normal((2, 6, options["width"])).astype(np.float32)
  whole = mask.Mask(mask.rows(6), mask.rows(6), mask.everything())
  with jax.default_matmul_precision("highest"):
    return initial.realize(build, 0, options["init"])(x_BTM, x_BTM, whole)[0]


def test_the_shrunk_arm_starts_as_the_scaled_one():
  """The same function at step 0; that of the unscaled arm is another."""
  scaled, shrunk, unscaled = map(first_outputs, ("scaled 128", "unscaled 128, shrunk", "unscaled 128"))
  np.testing.assert_allclose(scaled, shrunk, atol=1e-5)
  assert float(jnp.abs(scaled - unscaled).max()) > 0.1
