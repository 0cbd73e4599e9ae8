"""One place for every shared option: what it says of itself holds, and nobody writes it a second time."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import pytest

from configs import base, override
from configs.values import conform, known
from model import build, schema
from model.schema import OPTIONS

ROOT = Path(__file__).parents[2]


def test_every_option_tells_what_it_is_for_and_its_default_is_allowed():
  assert len(OPTIONS) > 50
  for key, option in OPTIONS.items():
    assert option.meaning, key
    assert known(option.type), key
    assert conform(option.default, option.type) == option.default
    assert not option.complaint(option.default), key
    assert not option.choices or option.type == "str"
    if option.type in ("int", "float") and key != "seed":
      assert option.bounds(), key  # there is no shared number that may be anything


def test_the_flat_options_are_the_nested_defaults():
  assert schema.flatten(schema.defaults()) == {key: option.default for key, option in OPTIONS.items()}
  assert base.get_config().to_dict() == schema.defaults()


def test_a_model_without_options_is_that_of_a_configuration():
  assert build.complete({}) == schema.defaults()["model"]
  card = override.resolve({})["model"]
  slots = {name for name, value in card.items() if isinstance(value, dict) and name not in ("wiring", "init")}
  assert {name: value for name, value in card.items() if name not in slots} == {
    name: value for name, value in build.complete({}).items() if name not in slots
  }


@pytest.mark.parametrize(
  ("key", "wrong", "right", "words"),
  [
    ("model.width", 0, 1, "allowed: 1 or more (features per token)"),
    ("model.dropout", 1.0, 0.999, "allowed: 0 or more and below 1"),
    ("model.dropout", math.nan, 0.0, "allowed: 0 or more and below 1"),
    ("model.wiring.eps", 0.0, 1e-9, "allowed: above 0"),
    ("model.wiring.eps", math.inf, 1.0, "allowed: above 0"),
    ("optim.lr", 0.0, 1e-9, "allowed: above 0 (peak learning rate)"),
    ("model.tie", "non", "qkv", "did you mean none? allowed: none, qk, kv, qkv"),
    ("model.init.qk", "he", "", 'allowed: "", lecun'),
  ],
)
def test_a_value_out_of_range_is_told(key, wrong, right, words):
  complaint = OPTIONS[key].complaint(wrong)
  assert complaint.startswith(f"{key}=")
  assert words in complaint
  assert not OPTIONS[key].complaint(right)


def test_it_is_read_without_jax_and_without_anything_of_ours():
  code = "import sys; from model import schema; print(sorted(m for m in sys.modules if m.partition('.')[0] in " + (
    "('jax', 'flax', 'numpy', 'model', 'configs')))"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "['model', 'model.schema']"


def test_choices_stand_nowhere_else():
  """No other file of ours writes the words of an option's choices out as one tuple, list or set."""
  choices = {frozenset(option.choices): key for key, option in OPTIONS.items() if len(option.choices) > 2}
  assert len(choices) > 6
  again = []
  for package in ("model", "train", "configs"):
    for path in sorted((ROOT / package).rglob("*.py")):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        words = getattr(node, "elts", None)
        if not words or not all(isinstance(word, ast.Constant) for word in words):
          continue
        key = choices.get(frozenset(word.value for word in words))
        if key and path.name != "schema.py":
          again.append(f"{path.relative_to(ROOT)}:{node.lineno}: {key}")
  assert not again
