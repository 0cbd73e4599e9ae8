"""An arm stands where its study says, or at the number of the key named like its axis; its own name says nothing."""

import pytest

from experiments.pages import arms
from experiments.protocol import catalog, study
from experiments.protocol.claim import At, Study, Trial


def plan(x, settings, at=None):
  return Study("s", "recall", {name: {} for name in settings}, "auc", {}, x=x, at=at or {})


def test_settings_that_differ_are_found_in_the_configs():
  one = {"seed": 1, "model": {"heads": 1, "attention": {"kind": "dot", "scale": None}}, "optim": {"lr": 1e-3}}
  two = {"seed": 2, "model": {"heads": 4, "attention": {"kind": "additive"}}, "optim": {"lr": 1e-2}}
  found = arms.differing({"a": one, "b": two})
  assert found["a"] == {
    "model.heads": 1,
    "model.attention.kind": "dot",
    "model.attention.scale": None,
    "optim.lr": 1e-3,
  }
  assert found["b"] == {"model.heads": 4, "model.attention.kind": "additive", "optim.lr": 1e-2}
  assert "optim.lr" not in arms.differing({"a": one, "b": two}, tuned=True)["a"]
  assert arms.differing({"a": one}) == {"a": {}}


@pytest.mark.parametrize(
  ("axis", "settings", "places"),
  [
    ("heads", {"a": {"model.heads": 1}, "b": {"model.heads": 8}}, [At(1.0, ""), At(8.0, "")]),
    ("lr", {"lr=1e-3": {"optim.lr": 1e-3}, "lr=1e-2": {"optim.lr": 1e-2}}, [At(1e-3, ""), At(1e-2, "")]),
    (
      "heads",
      {
        "a": {"model.heads": 1, "model.attention.kind": "dot"},
        "b": {"model.heads": 2, "model.attention.kind": "cosine"},
      },
      [At(1.0, "attention=dot"), At(2.0, "attention=cosine")],
    ),
    ("heads", {"heads=1": {"model.width": 1}, "heads=8": {"model.width": 8}}, None),  # a name says nothing
    ("attention", {"a 2": {"model.attention.kind": "dot"}, "b 4": {"model.attention.kind": "additive"}}, None),
    ("same", {"a": {"task.same": True}, "b": {"task.same": False}}, None),
    ("heads", {"a": {"model.heads": 1}, "b": {"model.heads": 1}}, None),
    ("", {"a": {"model.heads": 1}, "b": {"model.heads": 2}}, None),
  ],
)
def test_an_arm_stands_at_the_number_of_its_key(axis, settings, places):
  found = arms.placed(plan(axis, settings), settings)
  assert list(found.values()) == (places or [At(None, name) for name in settings])


def test_a_study_says_where_its_arms_stand():
  settings = {"wide 8": {}, "narrow 8": {}, "wide 64": {}}
  at = {"wide 8": At(8, "wide"), "narrow 8": At(8, "narrow"), "wide 64": At(64, "wide")}
  assert arms.placed(plan("width", settings, at), settings) == at
  half = {"wide 8": At(8, "wide")}  # where some arms have no place, all go by their names
  assert arms.placed(plan("width", settings, half), settings)["wide 8"] == At(None, "wide 8")


def test_every_study_places_arms_that_it_has():
  studies = {
    one.experiment.study.name: one.experiment.study for one in catalog.all_claims() if isinstance(one.experiment, Trial)
  }
  placed = 0
  for one in studies.values():
    assert one.at.keys() <= one.arms.keys(), one.name
    tier = next(iter(one.tiers))
    configs = {arm: study.point(one, tier, arm, lr=one.grid[0], seed=0, split="test") for arm in one.arms_at(tier)}
    found = arms.placed(one, arms.differing(configs, tuned=True))
    placed += any(place.x is not None for place in found.values())
    if one.at:
      assert all(place == one.at[name] for name, place in found.items()), one.name
  assert placed >= 15
