"""Every measure has a name for figures, and every line of a test says what it measures."""

import pytest

from experiments.pages import items
from experiments.protocol import assess, catalog, glossary, scales
from experiments.protocol.claim import All, Bound, Contrast, Equivalent, Moderated, Trial, greater


def test_every_measure_is_described():
  assert set(glossary.MEASURES) == {*scales.LOOP, *scales.JUDGED}
  assert set(glossary.BESIDE) | set(glossary.BESIDE.values()) <= set(glossary.MEASURES)


@pytest.mark.parametrize(
  ("measure", "said"),
  [
    ("auc", "accuracy, mean over training"),
    ("accuracy/far", "accuracy on far"),
    ("probe.entropy.true_key_mass", "true key mass (probe entropy)"),
    ("own", "own"),
  ],
)
def test_labels(measure, said):
  assert glossary.label(measure) == said
  assert glossary.label("window", "auc").startswith("accuracy, mean over training, mean over the window")


@pytest.mark.parametrize("bound", [Bound("x"), Bound("x", 0.5, 0.5), Bound("x", high=1e-3), Bound("x", 0.9, 1.1)])
def test_a_bounds_line_has_the_name_that_assess_gives_it(bound):
  (line,) = assess.assess(bound, {"x": [0.5]}, 0.05).results
  assert glossary.line_of(bound) == line.name
  assert line.name in glossary.tested(bound, "")


def test_lines_of_compound_tests():
  first, second = greater("a", "b:loss", 0.1), Contrast("c", {"a:accuracy": 1.0, "b:accuracy": -1.0})
  test = All(
    (Moderated("m", {"x": first, "y": second}), Equivalent(Contrast("d", {"a": 1.0}), 0.1, Contrast("e", {"b": 1.0})))
  )
  found = glossary.tested(test, "auc")
  assert set(found) == {"a > b:loss", "c", "d", "e"}
  assert found["a > b:loss"]["measure"] == "accuracy, mean over training and cross-entropy in nats, at the end"
  assert found["a > b:loss"]["what"] == "a > b"
  assert found["c"]["measure"] == "accuracy at the end"
  assert glossary.tested(first, "")["a > b:loss"] == {"measure": "", "what": "a > b:loss", "needed": ""}


def test_every_claim_says_what_it_measures():
  for claim in catalog.all_claims():
    item = items.claim(claim)
    for line, said in item["tested"].items():
      assert said["measure"] or said["what"], (claim.id, line)
      assert bool(said["measure"]) == isinstance(claim.experiment, Trial), (claim.id, line)
