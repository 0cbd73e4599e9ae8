"""Less optimization changes how long it takes to compile, and rounding; never what is computed."""

import jax
import numpy as np
import pytest

from experiments import brief, pack
from tests.train.tiny import tiny

FULL = {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 3}


def test_it_pays_for_short_trials_of_small_models_with_plain_attention():
  assert brief.pays(tiny())
  assert not brief.pays(tiny(train__steps=brief.STEPS + 2))
  assert not brief.pays(tiny(model__depth=brief.DEPTH + 1))
  assert not brief.pays(tiny(model__attention__kind="lsh"))
  recurrent = tiny()["model"] | {"kind": "rnn"}
  assert not brief.pays(tiny() | {"model": recurrent})


def trained(whole, settings, data):
  state, member = whole.init([settings]), whole.members([settings])
  for _ in range(2):
    state, losses_Ek, norms_Ek = whole.advance(state, member, data)
  return state.params, losses_Ek, norms_Ek, whole.evaluate(state, member, data)


def test_only_where_it_pays_is_a_cohort_brief():
  for settings, expected in ((tiny(), True), (tiny(model__depth=brief.DEPTH + 1), False)):
    whole = pack.prepare(settings).whole
    assert isinstance(whole.advance, brief.Brief) == isinstance(whole.evaluate, brief.Brief) == expected


def test_a_brief_cohort_computes_what_full_optimization_does(monkeypatch):
  settings, found = tiny(), []
  for options in (brief.OPTIONS, FULL):  # by itself a compile of these tests is brief, too: see conftest.py
    monkeypatch.setattr(brief, "OPTIONS", options)
    cohort = pack.prepare(settings)
    found.append(jax.tree.leaves(trained(cohort.whole, settings, cohort.train_data)))
  for ours, theirs in zip(*found, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_program_is_compiled_once_for_each_shape():
  double = brief.Brief(jax.jit(lambda x: 2 * x))
  for size in (3, 5, 3):
    np.testing.assert_array_equal(double(np.arange(size)), 2 * np.arange(size))
  assert len(double.programs) == 2


def test_a_compiler_without_these_options_compiles_as_ever(monkeypatch):
  monkeypatch.setattr(brief, "OPTIONS", {"an_option_that_does_not_exist": True})
  np.testing.assert_array_equal(brief.Brief(jax.jit(lambda x: x + 1))(np.arange(3)), [1, 2, 3])


def test_what_fails_for_another_reason_is_not_hidden():
  with pytest.raises(TypeError, match="shape"):
    brief.Brief(jax.jit(lambda x: x @ np.ones((2, 2))))(np.ones(3))
