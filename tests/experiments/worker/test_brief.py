"""Less optimization changes how long it takes to compile, and rounding; never what is computed."""

import jax
import numpy as np
import pytest

from experiments.worker import brief, pack
from model import build
from tests.train.tiny import tiny

FULL = {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 3}

DEEP = tiny(model__depth=brief.DEPTH + 1)


@pytest.mark.parametrize(
  ("config", "options"),
  [
    (tiny(), brief.QUICK),
    (tiny(model__attention__kind="lsh"), brief.QUICK),
    (tiny(model__depth=2, model__attention__kind="banded"), brief.QUICK),
    (tiny(model__depth=2, model__attention__kind="lsh"), brief.LEVEL),
    (tiny() | {"model": tiny()["model"] | {"kind": "rnn"}}, brief.LEVEL),
    (tiny() | {"model": tiny()["model"] | {"kind": "rnn_seq2seq"}}, brief.LEVEL),
    (DEEP, brief.LEVEL),
    (tiny(train__steps=brief.STEPS + 2), {}),
  ],
)
def test_what_a_short_trial_compiles_with(config, options):
  assert brief.options(config) == options


@pytest.mark.parametrize("kind", build.kinds("models"))
def test_models_of_cells_need_the_emitters(kind):
  recurrent = build.resolve("models", kind).built_of == "cells"
  assert brief.options(tiny() | {"model": tiny()["model"] | {"kind": kind}}) == (
    brief.LEVEL if recurrent else brief.QUICK
  )
  assert recurrent == ("rnn" in kind)


def test_of_a_users_model_nothing_is_known():
  assert brief.options(tiny() | {"model": tiny()["model"] | {"kind": "no/such/file.py:Mine"}}) == brief.QUICK


def trained(whole, settings, data):
  state, member = whole.init([settings]), whole.members([settings])
  for _ in range(2):
    state, losses_Ek, norms_Ek = whole.advance(state, member, data)
  return state.params, losses_Ek, norms_Ek, whole.evaluate(state, member, data)


def test_only_short_cohorts_are_brief():
  for settings, expected in ((tiny(), True), (tiny(train__steps=brief.STEPS + 2), False)):
    whole = pack.prepare(settings).whole
    assert isinstance(whole.advance, brief.Brief) == isinstance(whole.evaluate, brief.Brief) == expected


@pytest.mark.parametrize("settings", [tiny(), DEEP], ids=["quick", "level"])
def test_a_brief_cohort_computes_what_full_optimization_does(settings, monkeypatch):
  found = []
  for chosen in (brief.options(settings), FULL):  # by itself a compile of these tests is brief, too: see conftest.py
    monkeypatch.setattr(brief, "options", lambda config, chosen=chosen: chosen)
    cohort = pack.prepare(settings)
    found.append(jax.tree.leaves(trained(cohort.whole, settings, cohort.train_data)))
  for one, other in zip(*found, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_program_is_compiled_once_for_each_shape():
  double = brief.Brief(jax.jit(lambda x: 2 * x), brief.QUICK)
  for size in (3, 5, 3):
    np.testing.assert_array_equal(double(np.arange(size)), 2 * np.arange(size))
  assert len(double.programs) == 2


def test_a_compiler_without_these_options_compiles_as_ever():
  unknown = brief.Brief(jax.jit(lambda x: x + 1), {"an_option_that_does_not_exist": True})
  np.testing.assert_array_equal(unknown(np.arange(3)), [1, 2, 3])


def test_what_fails_for_another_reason_is_not_hidden():
  with pytest.raises(TypeError, match="shape"):
    brief.Brief(jax.jit(lambda x: x @ np.ones((2, 2))), brief.QUICK)(np.ones(3))
