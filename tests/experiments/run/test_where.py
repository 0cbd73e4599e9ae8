"""The language of --where: what a condition means, what it refuses, and that no text does anything else."""

import contextlib
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.run.where import parse
from model.errors import Refused

ROW = {
  "status": "done",
  "steps": 200,
  "model.heads": 4,
  "model.attention.kind": "dot",
  "model.attention.scale": None,
  "model.bias": False,
  "model.attention.anchors": [0, 1],
  "accuracy": 0.5,
  "accuracy/2 hops": 0.25,
  "t90": float("inf"),
  "loss": float("nan"),
  "name": "3",
}
MEANING = {
  "status=done": True,
  "status==done": True,
  "status!=done": False,
  "status = 'done'": True,
  "model.heads>=4 and status=done": True,
  "model.heads>4 or status=done": True,
  "model.heads>4 and status=failed or steps=200": True,
  "model.heads>4 and (status=failed or steps=200)": False,
  "not model.heads=4": False,
  "not not model.heads=4": True,
  "not (model.heads=4 and steps<100)": True,
  "NOT status=failed AND steps>100": True,
  "model.heads=4.0": True,
  "model.heads=4e0": True,
  "model.heads=four": False,
  "accuracy<=.5": True,
  "accuracy<1e-1": False,
  "'accuracy/2 hops' > 0.2": True,
  "t90>1000": True,
  "t90=inf": True,
  "loss<5": False,
  "loss>=5": False,
  "loss=nan": True,
  "model.attention.scale=none": True,
  "model.attention.scale!=1": True,
  "model.attention.scale>1": False,
  "model.bias=false": True,
  "model.bias!=true": True,
  "model.attention.anchors=(0,1)": True,
  "model.attention.anchors=(0, 2)": False,
  "model.attention.anchors=(0)": False,
  "model.attention.anchors!=()": True,
  "name=3": True,
}


@pytest.mark.parametrize("text", MEANING)
def test_what_a_condition_means(text):
  assert parse(text).chosen([ROW]) == [MEANING[text]]


def test_a_run_that_lacks_the_key_fulfils_no_comparison_with_it():
  rows = [{"status": "done", "accuracy": 0.9}, {"status": "failed"}]
  for text, expected in {
    "accuracy>0.5": [True, False],
    "accuracy!=1": [True, False],
    "not accuracy>0.5": [False, True],
  }.items():
    assert parse(text).chosen(rows) == expected


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("modl.heads=4", "did you mean model.heads"),
    ("heads=4", "did you mean model.heads"),
    ("model.atention.kind=dot", "did you mean model.attention.kind"),
    ("heads", "the end at character 6, wanted one of ="),
    ("model.heads=", "the end at character 13"),
    ("model.heads>many", "needs a number"),
    ("model.attention.kind>2", "no number"),
    ("status=done steps=200", "'steps' at character 13, wanted and, or"),
    ("(status=done", r"wanted '\)'"),
    ("status=done)", r"'\)' at character 12"),
    ("and status=done", "'and' at character 1, wanted a key"),
    ("status=done and", "wanted a key"),
    ("steps=(1,", "wanted a value"),
    ("steps=(1 2)", "wanted ','"),
    ("status='done", "at character 8 means nothing here"),
    ("", "wanted a key"),
    ("(" * 60 + "steps=1" + ")" * 60, "nests more than"),
    ("__import__('os').system('true')=1", "wanted one of ="),
  ],
)
def test_mistakes_are_told_in_one_line(text, said):
  with pytest.raises(Refused, match=said) as fault:
    parse(text).chosen([ROW])
  assert "\n" not in str(fault.value)


SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBERS = {"a": 1, "b.c": 2, "d/e": 2.5}
LEAVES = st.tuples(
  st.sampled_from(sorted(NUMBERS)), st.sampled_from(sorted(SIGNS)), st.sampled_from([0, 1, 2, 2.5, -3])
)
TREES = st.recursive(
  LEAVES,
  lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
  max_leaves=8,
)


def written(tree, above=0) -> str:
  """A tree as text, in parentheses only where a tighter operator stands around it."""
  strength = {"or": 1, "and": 2, "not": 3}.get(tree[0], 4)
  if tree[0] == "not":
    text = f"not {written(tree[1], 3)}"
  elif tree[0] in ("and", "or"):
    text = f" {tree[0]} ".join(written(part, strength) for part in tree[1:])
  else:
    text = f"{tree[0]}{tree[1]}{tree[2]}"
  return f"({text})" if strength < above else text


def truth(tree) -> bool:
  if tree[0] == "not":
    return not truth(tree[1])
  if tree[0] in ("and", "or"):
    found = [truth(part) for part in tree[1:]]
    return all(found) if tree[0] == "and" else any(found)
  return SIGNS[tree[1]](NUMBERS[tree[0]], tree[2])


@given(TREES)
def test_any_condition_means_what_its_tree_says(tree):
  assert parse(written(tree)).chosen([NUMBERS]) == [truth(tree)]


@given(st.text(max_size=40))
def test_any_other_text_is_refused_and_nothing_else(text):
  with contextlib.suppress(Refused):
    assert parse(text).chosen([ROW]) in ([True], [False])
