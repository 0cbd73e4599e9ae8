"""Every verdict from samples that earn it, the rates of wrong ones at the boundary, and the words of a reason."""

import dataclasses
import math

import numpy as np
import pytest

from experiments.protocol.assess import assess
from experiments.protocol.claim import All, Bound, Check, Claim, Contrast, Equivalent, Moderated, Study, Trial, greater
from experiments.protocol.claim import interaction as crossed
from experiments.protocol.verdict import level, verdict

ALPHA = 0.0036
STUDY = Study("heads", "recall", {"a": {}, "b": {}}, "accuracy", {"small": {}})
SEEDS = 12


def claim(test, nature="empirical", **options):
  experiment = Check("mech.shape", test, **options) if options else Trial(STUDY, test)
  said = {"document": "D3", "place": "D3-1", "statement": "More heads help.", "measure": "accuracy"}
  return Claim(id="HEAD-1", nature=nature, experiment=experiment, **said)


def around(center, spread=0.01, seed=0):
  return (center + spread * np.random.default_rng(seed).normal(size=SEEDS)).tolist()


MORE = greater("a", "b", 0.1)


@pytest.mark.parametrize(("a", "word"), [(0.9, "reproduced"), (0.52, "refuted"), (0.6, "inconclusive")])
def test_a_contrast_is_reproduced_refuted_or_open(a, word):
  found = verdict(claim(MORE), {"a": around(a), "b": around(0.5, seed=1)}, ALPHA)
  assert found["verdict"] == word
  assert found["condition"] is None
  (test,) = found["tests"]
  assert test["rule"] == "PERM"
  assert (test["n"], test["alpha"], test["ci_level"], test["minimum_effect"]) == (12, ALPHA, 0.95, 0.1)
  assert test["passed"] is (word == "reproduced")
  assert test["bound"][0] <= test["ci"][0] <= test["effect"] <= test["ci"][1] <= test["bound"][1]
  assert ("minimum detectable effect" in found["reason"]) is (word == "inconclusive")
  assert found["reason"].endswith(".")
  assert "a > b" in found["reason"]


def test_passing_and_p_agree():
  rng = np.random.default_rng(3)
  for center in np.linspace(-0.5, 1.5, 60):
    (result,) = assess(Contrast("d", {"d": 1.0}, 0.3), {"d": rng.normal(center, 0.5, SEEDS)}, 0.05).results
    assert result.passed == (result.p <= 0.05)


def test_rounding_does_not_exceed_a_minimum_effect():
  assert 1.1 - 1.0 > 0.1
  found = assess(MORE, {"a": [1.1] * SEEDS, "b": [1.0] * SEEDS}, ALPHA).results[0]
  assert (found.outcome, found.p) == ("unclear", 1.0)


def test_equal_values_decide_with_enough_seeds_only():
  same = {"a": [1.0] * SEEDS, "b": [0.5] * SEEDS}
  assert assess(MORE, same, ALPHA).outcome == "above"
  few = assess(MORE, {name: values[:4] for name, values in same.items()}, ALPHA)
  assert few.outcome == "unclear"
  assert "too few, or too alike" in verdict(claim(MORE), {"a": [1.0], "b": [0.5]}, ALPHA)["reason"]


def test_not_a_number_is_open_and_never_dropped():
  found = verdict(claim(MORE), {"a": [math.nan, *around(0.9)[1:]], "b": around(0.5)}, ALPHA)
  assert found["verdict"] == "inconclusive"
  assert found["tests"][0]["n"] == 12
  assert "NaN" in found["reason"]
  assert assess(greater("b", "a", 0.1), {"a": [math.inf] * 12, "b": around(0.5)}, ALPHA).outcome == "below"
  assert assess(MORE, {"a": [math.inf] * 12, "b": [math.inf] * 12}, ALPHA).outcome == "unclear"


def test_missing_and_unpaired_samples_are_faults():
  with pytest.raises(KeyError, match="no sample 'b'"):
    assess(MORE, {"a": [1.0]}, ALPHA)
  with pytest.raises(ValueError, match="cannot be paired"):
    assess(MORE, {"a": [1.0], "b": [1.0, 2.0]}, ALPHA)


def test_a_bound_holds_for_every_value():
  bound = Bound("error", high=1e-5)
  good = verdict(claim(bound, "exact", identity=False), {"error": [0.0, 1e-6, 1e-5]}, ALPHA)
  assert (good["verdict"], good["tests"][0]["rule"], good["tests"][0]["effect"]) == ("reproduced", "EXACT", 0.0)
  bad = verdict(claim(bound, "exact", identity=False), {"error": [0.0, 3e-5]}, ALPHA)
  assert bad["verdict"] == "refuted"
  assert bad["tests"][0]["effect"] == pytest.approx(2e-5)
  assert "outside by up to 2e-05" in bad["reason"]
  assert assess(bound, {"error": [0.0, math.nan]}, ALPHA).outcome == "unclear"
  assert assess(bound, {"error": []}, ALPHA).outcome == "unclear"
  assert assess(bound, {"error": [math.inf]}, ALPHA).outcome == "below"


def test_an_identity_is_a_definition_unless_it_fails():
  row = claim(Bound("error", high=1e-5), "exact", identity=True)
  assert verdict(row, {"error": [0.0]}, ALPHA)["verdict"] == "definition"
  assert verdict(row, {"error": [1.0]}, ALPHA)["verdict"] == "refuted"


def test_nothing_run_is_untested():
  untested = dataclasses.replace(claim(MORE), experiment=None)
  found = verdict(untested, {}, ALPHA)
  assert (found["verdict"], found["tests"]) == ("untested", [])
  assert verdict(claim(MORE), None, ALPHA)["verdict"] == "untested"


def test_the_edge_of_the_grid_leaves_any_result_open():
  found = verdict(claim(MORE), {"a": around(0.9), "b": around(0.5, seed=1)}, ALPHA, edge=True)
  assert found["verdict"] == "inconclusive"
  assert found["reason"].startswith("grid")
  assert found["tests"][0]["passed"]


EQUAL = Equivalent(greater("a", "b", 0.0), 0.05, worse=greater("a", "c", 0.0))


@pytest.mark.parametrize(
  ("b", "c", "spread", "outcome"),
  [
    (0.5, 0.2, 0.01, "above"),
    (0.5, 0.49, 0.01, "unclear"),  # the known difference passes as equal too: the assay is blind
    (0.3, 0.2, 0.01, "below"),
    (0.7, 0.2, 0.01, "below"),
    (0.5, 0.2, 0.2, "unclear"),
  ],
)
def test_equality_needs_a_margin_and_an_assay_that_sees(b, c, spread, outcome):
  samples = {"a": around(0.5, spread), "b": around(b, spread, 1), "c": around(c, spread, 2)}
  found = assess(EQUAL, samples, ALPHA)
  assert found.outcome == outcome
  assert [result.role for result in found.results] == ["primary", "sensitivity"]
  assert {result.rule for result in found.results} == {"TOST"}
  if c == 0.49:
    assert "not told apart" in verdict(claim(EQUAL), samples, ALPHA)["reason"]


def test_a_ceiling_shared_by_all_arms_is_no_equality():
  assert assess(EQUAL, dict.fromkeys("abc", [1.0] * SEEDS), ALPHA).outcome == "unclear"


def test_a_conjunction_needs_every_part_and_falls_with_one():
  both = All((MORE, greater("b", "c", 0.1)))
  outcomes = []
  for c in (0.2, 0.4, 0.55):
    samples = {"a": around(0.9), "b": around(0.5, seed=1), "c": around(c, seed=2)}
    found = assess(both, samples, ALPHA)
    outcomes.append(found.outcome)
    assert len(found.results) == 2
  assert outcomes == ["above", "unclear", "below"]
  assert found.decisive == (1,)


CELLS = Moderated(
  "depth",
  {"one layer": greater("a1", "b1", 0.1), "two layers": greater("a2", "b2", 0.1)},
  crossed(("a1", "b1"), ("a2", "b2"), 0.0, "gap shrinks with depth"),
)


def test_a_condition_needs_opposite_cells_and_a_passing_interaction():
  samples = {"a1": around(0.9), "b1": around(0.5, seed=1), "a2": around(0.9, seed=2), "b2": around(0.9, seed=3)}
  found = verdict(claim(CELLS), samples, ALPHA)
  assert found["verdict"] == "conditional"
  assert found["condition"] == "depth: holds for one layer, fails for two layers"
  assert [(t["cell"], t["role"]) for t in found["tests"]] == [
    ("one layer", "primary"),
    ("two layers", "primary"),
    (None, "interaction"),
  ]
  reversed_cells = dataclasses.replace(CELLS, interaction=crossed(("a2", "b2"), ("a1", "b1"), 0.0, "grows"))
  assert verdict(claim(reversed_cells), samples, ALPHA)["verdict"] == "inconclusive"
  undeclared = verdict(claim(dataclasses.replace(CELLS, interaction=None)), samples, ALPHA)
  assert undeclared["verdict"] == "inconclusive"
  assert "no interaction test was declared" in undeclared["reason"]


def test_cells_that_agree_need_no_condition_and_an_open_cell_leaves_the_row_open():
  high, low = around(0.9), around(0.5, seed=1)
  both = {"a1": high, "b1": low, "a2": high, "b2": low}
  assert verdict(claim(CELLS), both, ALPHA)["verdict"] == "reproduced"
  assert verdict(claim(CELLS), {"a1": low, "b1": low, "a2": low, "b2": low}, ALPHA)["verdict"] == "refuted"
  half = verdict(claim(CELLS), {**both, "b2": around(0.8, seed=4)}, ALPHA)
  assert half["verdict"] == "inconclusive"
  assert "the cell two layers of depth is open" in half["reason"]


def test_exact_cells_need_no_interaction():
  test = Moderated("hardware", {"cpu": Bound("x", high=1.0), "gpu": Bound("y", high=1.0)})
  found = verdict(claim(test, "exact", identity=False), {"x": [2.0], "y": [0.5]}, ALPHA)
  assert (found["verdict"], found["condition"]) == ("conditional", "hardware: holds for gpu, fails for cpu")


def test_the_level_counts_declared_rows_whether_or_not_they_run():
  rows = [claim(MORE)] * 3 + [dataclasses.replace(claim(MORE), experiment=None, nature="measured")]
  rows += [dataclasses.replace(claim(MORE), nature=nature) for nature in ("exact", "cited", "paper_scale")]
  assert level(rows) == 0.05 / 4
  assert level([]) == 0.05


def rates(test, draw, trials=600, alpha=0.05):
  """Shares of outcomes over simulated rows."""
  rng = np.random.default_rng(11)
  outcomes = [assess(test, draw(rng), alpha).outcome for _ in range(trials)]
  return {word: outcomes.count(word) / trials for word in ("above", "below", "conditional")}


def limit(rate, trials=600):
  return rate + 4 * math.sqrt(rate * (1 - rate) / trials)


@pytest.mark.parametrize("noise", ["normal", "standard_t", "exponential"])
def test_a_truth_on_the_minimum_effect_is_called_either_way_at_the_level_only(noise):
  def draw(rng):
    make = {"normal": rng.standard_normal, "standard_t": lambda n: rng.standard_t(3, n)}.get(
      noise, rng.standard_exponential
    )
    return {"a": 0.1 + make(SEEDS), "b": make(SEEDS)}

  found = rates(MORE, draw)
  assert max(found["above"], found["below"]) <= limit(0.05)
  assert min(found["above"], found["below"]) >= 0.02  # and not for want of trying


def test_equality_is_not_declared_at_the_margin_more_often_than_the_level():
  def draw(rng):
    noise = rng.normal(0, 0.02, (3, SEEDS))
    return {"a": 0.55 + noise[0], "b": 0.5 + noise[1], "c": 0.2 + noise[2]}

  found = rates(EQUAL, draw)
  assert max(found["above"], found["below"]) <= limit(0.05)
  assert found["above"] >= 0.02


def test_a_condition_is_rarely_found_where_there_is_none():
  """Both cells on the boundary: a condition needs two wrong calls in opposite directions."""

  def draw(rng):
    noise = rng.normal(0, 1, (4, SEEDS))
    return {"a1": 0.1 + noise[0], "b1": noise[1], "a2": 0.1 + noise[2], "b2": noise[3]}

  found = rates(CELLS, draw)
  assert found["conditional"] <= limit(0.0025)
  assert max(found["above"], found["below"]) <= limit(0.0025)


def test_a_conjunction_on_its_boundaries_is_refuted_at_no_more_than_the_sum_of_its_levels():
  parts = All(tuple(Contrast(name, {name: 1.0}, 0.0) for name in "abc"))
  found = rates(parts, lambda rng: dict(zip("abc", rng.normal(0, 1, (3, SEEDS)), strict=True)))
  assert found["above"] <= limit(0.05**3)
  assert found["below"] <= limit(0.15)
