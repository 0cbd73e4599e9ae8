"""Every card resolves, every point of its sweep applies, and none of it needs jax."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import Refused, override, slots, sweep, values


@pytest.mark.parametrize("name", sweep.cards())
def test_a_card_and_all_its_points_resolve(name):
  config = override.load(name)
  texts = {json.dumps(override.resolve(override.apply(config, point))) for point in override.points(name)}
  assert len(texts) == len(override.points(name)) > 1  # no two points are the same trial
  assert not any("seed" in point for point in override.points(name))


def test_the_listing_is_complete():
  items = sweep.listing()
  assert {item["name"] for item in items} >= {"heads", "key_dim", "scaling", "dot_vs_additive", "recall", "g2p"}
  for item in items:
    assert set(item) == {"name", "file", "asks", "command", "expected", "minutes", "points"}
    assert (slots.ROOT / item["file"]).is_file()
    assert item["command"].startswith("assay ")
    assert f"--config={item['name']}" in item["command"]
    assert item["command"] in (slots.ROOT / item["file"]).read_text().split('"""')[1]  # the docstring shows it too
    assert item["minutes"] > 0


def test_heads_keeps_the_width():
  config = override.load("heads")
  for point in override.points("heads"):
    assert config.model.width % point["model.heads"] == 0
  assert config.task.relations == 4


def test_scaling_has_an_arm_whose_scores_start_out_as_if_scaled():
  arms = [point for point in override.points("scaling") if "model.init.qk_gain" in point]
  assert len(arms) == 4
  for arm in arms:
    assert arm["model.attention.scale"] == 1.0
    assert arm["model.init.qk_gain"] ** 2 == pytest.approx(arm["model.head_dim"] ** -0.5)


def test_nothing_here_imports_jax_or_the_rest_of_ours():
  program = (
    "import sys\n"
    "from configs import override, slots, sweep\n"
    "sweep.listing()\n"
    "for name in sweep.cards(): override.resolve(override.load(name))\n"
    "for family in slots.FOLDERS:\n"
    "  for kind in slots.kinds(family): slots.describe(family, kind)\n"
    "bad = [m for m in sys.modules if m.split('.')[0] in ('jax', 'jaxlib', 'flax', 'model', 'train', 'experiments')]\n"
    "bad = set(bad) - {'model', 'model.schema'}\n"
    "assert not bad, bad\n"
  )
  done = subprocess.run([sys.executable, "-c", program], cwd=slots.ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr


def test_product_zipped_chain():
  grid = sweep.product({"a": [1, 2], "b": [3, 4]})
  assert grid == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
  pairs = sweep.zipped({"c": [1, 2], "d": [3, 4]})
  assert pairs == [{"c": 1, "d": 3}, {"c": 2, "d": 4}]
  assert len(sweep.product(grid, pairs)) == 8
  assert sweep.chain(grid, pairs) == grid + pairs
  assert sweep.product() == [{}]
  with pytest.raises(Refused, match="2, 3"):
    sweep.zipped({"a": [1, 2], "b": [1, 2, 3]})
  with pytest.raises(Refused, match="a stands on two axes"):
    sweep.product(grid, {"a": [1]})


def test_axes_from_the_command_line():
  points = sweep.product(sweep.axis("model.heads=1,2"), sweep.axis("--config.model.attention.kind=dot,additive"))
  config = override.load("heads")
  assert [override.apply(config, point).model.heads for point in points] == [1, 1, 2, 2]
  for text in ("model.heads", "model.heads=", "=1", "model.heads=1,,2", "model.heads=1,1"):
    with pytest.raises(Refused):
      sweep.axis(text)


ANCHORS = "model.attention.anchors="


@pytest.mark.parametrize(
  ("text", "values"),
  [
    ("(0,1),(2,3)", [(0, 1), (2, 3)]),
    ("[0,1],(2, 3)", [(0, 1), (2, 3)]),
    ("(),(0,),0", None),  # (0,) and 0 are one value
    ("(),(0,1)", [(), (0, 1)]),
    ("0,1", [(0,), (1,)]),  # a comma parts two points; a value that holds commas stands in parentheses
    ("(0,1)", [(0, 1)]),
  ],
)
def test_a_tuple_is_one_value_of_an_axis(text, values):
  banded = override.load("recall", ["model.attention.kind=banded"])
  points = sweep.product(sweep.axis(ANCHORS + text))
  found = [override.apply(banded, point).model.attention.anchors for point in points]
  assert found == (values or [(), (0,), (0,)])


@pytest.mark.parametrize("text", ["(0,1", "0,1)", "(0,1]", "((0,1)", "(0,1),(0, 1)", "(0,1),,(2,3)", "(0,1)),(2,3)"])
def test_parentheses_that_do_not_pair_are_told(text):
  with pytest.raises(Refused, match=r"model\.attention\.anchors"):
    sweep.axis(ANCHORS + text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=3), min_size=1, max_size=4))
def test_lists_of_tuples_are_split_as_they_were_written(tuples):
  texts = ["(" + ",".join(map(str, one)) + ")" for one in tuples]
  assert values.split(",".join(texts)) == texts
  assert [values.parse(text, "tuple[int, ...]") for text in texts] == [tuple(one) for one in tuples]
