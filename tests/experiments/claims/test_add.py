"""Rows on additive attention: operations against hand counts, the bound of its scores, checks against broken models."""

import importlib
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.bench import score as bench
from experiments.claims.add import checks
from experiments.protocol import assess, catalog, reproduce
from experiments.protocol.claim import Check
from model import initial
from model.attention import additive

CHECKED = [claim for claim in catalog.group("ADD") if isinstance(claim.experiment, Check)]
VECTORS = arrays(np.float32, (2, 3, 4), elements=st.floats(-100, 100, width=32))


def samples(claim):
  module, function = claim.experiment.run.rsplit(".", 1)
  return getattr(importlib.import_module(f"experiments.claims.{module}"), function)()


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.01).outcome


@pytest.mark.parametrize("claim", CHECKED, ids=lambda claim: claim.id)
def test_a_check_brings_what_its_row_asks(claim):
  found = samples(claim)
  assert reproduce.names(claim.experiment.test) <= set(found)
  assert all(isinstance(value, float) and math.isfinite(value) for values in found.values() for value in values)
  assert outcome(claim, found) != "unclear"


@given(VECTORS, VECTORS, st.integers(0, 9), st.floats(0, 8))
def test_additive_scores_are_bounded_by_the_read_out(q_BTD, k_BSD, seed, gain):
  """|s| <= gain * sum |v|, whatever queries and keys are."""
  mechanism = layer(seed)
  mechanism.gain[...] = np.float32(gain)
  score_BTS = mechanism.scores(q_BTD[:, :, None, None], k_BSD[:, :, None])[:, 0, 0]
  bound = gain * np.abs(np.asarray(mechanism.readout[...])).sum()
  assert float(np.abs(score_BTS).max()) <= bound * (1 + 1e-5) + 1e-6


def layer(seed: int):
  return initial.realize(lambda: additive.Additive(1, 4), seed)


@given(st.integers(1, 400))
@settings(max_examples=20)
def test_operations_against_counts_by_hand(width):
  """8 queries by 8 keys: sum 1, tanh 1 and read-out 2 per unit; bias once per query, gain once per layer."""
  pairs, queries = 64, 8
  assert checks._per_score("additive", width) * pairs == width * (4 * pairs + queries + 1)
  assert checks._per_score("dot", width) * pairs == width * (2 * pairs + queries)


@pytest.mark.parametrize("price", [1, 4, 20])
def test_the_ratio_tends_to_its_formula(price):
  """(5 + t) / 4 for t operations per tanh, where neither projections nor the softmax weigh."""
  assert checks.ratio(checks._core, 256, 512, price) == pytest.approx((5 + price) / 4, rel=0.01)
  assert checks.ratio(checks._layer, 16, 2048, price) == pytest.approx(1.0, abs=0.05)


def test_projected_anew_the_exponents_are_equal():
  found = checks.exponents()
  np.testing.assert_allclose(found["dot, projected anew"], found["additive, projected anew"], atol=0.01)
  np.testing.assert_allclose(found["dot, vectors given"], found["additive, vectors given"], atol=1e-6)


def test_another_score_is_not_that_network(monkeypatch):
  def of_sizes(self, q_BTKGD, k_BSKD, inside=0.0):
    return scores(self, abs(q_BTKGD), k_BSKD)

  scores = additive.Additive.scores
  monkeypatch.setattr(additive.Additive, "scores", of_sizes)
  jax.clear_caches()  # the compiled layer is kept by its function and shapes
  claim = catalog.by_id("ADD-8")
  assert outcome(claim, samples(claim)) == "below"
  monkeypatch.undo()
  jax.clear_caches()
  assert outcome(claim, samples(claim)) == "above"


def test_wide_read_out_saturates(monkeypatch):
  """Evenness at the start is a matter of v: with unit entries the weights are far from even, the more the wider."""
  value = initial._value

  def unit_read_out(key, shape, role, fans, init):
    drawn = value(key, shape, role, fans, init)
    return drawn * fans[0] ** 0.5 if role == "readout" else drawn

  monkeypatch.setattr(initial, "_value", unit_read_out)
  found = {name: dict(checks._first_scores(0, width))["additive"] for name, width in (("8", 8), ("128", 128))}
  entropies = {name: checks.entropy(checks.softmax(s.astype(float))).mean() / np.log(16) for name, s in found.items()}
  assert entropies["128"] < 0.4 < entropies["8"] < 0.9


def test_every_candidate_is_timed_in_turn():
  order = []
  calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
  least = bench.least_times(calls)
  assert order == ["a", "b"] * bench.CALLS
  assert all(seconds >= 0 for seconds in least.values())


def test_the_bench_brings_what_its_row_asks(monkeypatch):
  assert reproduce.names(catalog.by_id("ADD-1").experiment.test) == set(bench.SETTINGS)
  assert bench.REPEATS >= 8
  assert bench.CALLS >= 5
  for name, value in (("REPEATS", 2), ("CALLS", 1), ("SETTINGS", {"tiny": (4, 2), "one block": (2, 2)})):
    monkeypatch.setattr(bench, name, value)
  monkeypatch.setattr(bench, "CANDIDATES", (("dot", 0), ("additive", 0), ("additive", 2)))
  found = bench.speed()
  assert {name: len(values) for name, values in found.items()} == {"tiny": 2, "one block": 2}
  assert all(math.isfinite(value) for values in found.values() for value in values)
