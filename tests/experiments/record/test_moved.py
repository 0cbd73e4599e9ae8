"""Modules that have moved are found again: every name of the table is a module of today, no old one is."""

import importlib
import importlib.util

import pytest

from experiments.proof import hosts
from experiments.record import digest, moved


@pytest.mark.parametrize("module", moved.MOVED)
def test_todays_names_are_there(module):
  path = f"{module.replace('.', '/')}.py"
  assert (digest.root() / path).is_file()
  assert moved.path_now(moved.path_before(path)) == path
  assert moved.now(moved.before(module)) == module


def test_no_two_have_one_old_name():
  assert len(moved.SINCE) == len(moved.MOVED) + len(moved.JOINED)


@pytest.mark.parametrize("module", moved.JOINED)
def test_what_became_part_of_another_is_found_in_it(module):
  path = f"{module.replace('.', '/')}.py"
  assert not (digest.root() / path).exists()
  assert (digest.root() / moved.path_now(path)).is_file()
  assert moved.now(f"{module}.anything") == f"{moved.now(module)}.anything"


def test_what_never_moved_keeps_its_name():
  for name in ("experiments.probes.entropy", "model.attention.dot", "experiments"):
    assert moved.now(name) == moved.before(name) == name
  assert moved.path_now("model/attention/dot.py") == "model/attention/dot.py"
  assert moved.path_now("experiments/claimed.py") == "experiments/claimed.py"


def test_a_renamed_thing_is_found_by_the_name_before():
  for before, now in moved.RENAMED.items():
    module, _, name = now.rpartition(".")
    assert hasattr(importlib.import_module(module), name)
    assert moved.now(before) == moved.now(now) == now


OLD = """
import json
from experiments import brief, study as studies
from experiments.stats import signs

def f():
  from experiments.work import call
  return call(brief, json)
"""
NEW = """
from experiments.protocol import study as studies
from experiments.protocol.stats import signs
from experiments.worker import brief
import json

def f():
  from experiments.worker.serve import call
  return call(brief, json)
"""


def test_a_moved_import_is_no_change_and_another_one_is():
  assert hosts.changed(OLD.encode(), NEW.encode(), "a.py") == []
  others = (
    ("import signs", "import power"),
    ("import brief", "import pack as brief"),
    ("as studies", "as study"),
    ("serve import call", "serve import cause as call"),
  )
  for old, new in others:
    assert old in NEW
    assert hosts.changed(OLD.encode(), NEW.replace(old, new).encode(), "a.py")
  assert importlib.util.find_spec("experiments.brief") is None


BEFORE = """
import numpy as np
from model.see import Where, rows

def seen(inputs, where):
  return np.where(inputs.where.pos_BT > 0, where, rows(3))
"""
AFTER = """
import numpy as np
from model.mask import Positions, rows

def seen(inputs, positions):
  return np.where(inputs.positions.pos_BT > 0, positions, rows(3))
"""


def test_a_renamed_word_is_no_change_and_another_one_is():
  assert hosts.changed(BEFORE.encode(), AFTER.encode(), "a.py", words=True) == []
  assert hosts.changed(BEFORE.encode(), AFTER.encode(), "a.py")  # of two trees of today
  for old, new in (("np.where", "np.positions"), (".positions", ".places"), ("Positions", "Mask"), ("> 0", "> 1")):
    assert old in AFTER
    assert hosts.changed(BEFORE.encode(), AFTER.replace(old, new).encode(), "a.py", words=True)


def test_a_file_that_knows_both_words_keeps_them_apart():
  both = BEFORE.replace("rows(3)", "positions")
  other = both.replace("inputs.where", "inputs.positions")
  assert hosts.changed(both.encode(), other.encode(), "a.py", words=True) == ["seen"]


@pytest.mark.parametrize(
  "bound",
  [
    "  try:\n    f()\n  except ValueError as mask:\n    return {}",
    "  global mask\n  return {}",
    "  import mask\n  return {}",
    "  import mask.b\n  return {}",
    "  match f():\n    case [mask]:\n      return {}",
    "  match f():\n    case [*mask]:\n      return {}",
    "  match f():\n    case {{**mask}}:\n      return {}",
    "  async def mask():\n    pass\n  return {}",
    "  def mask():\n    pass\n  return {}",
  ],
)
def test_a_word_of_today_that_is_bound_in_any_way_is_another_thing(bound):
  old, new = (f"def g(see, f):\n{bound.format(word)}\n".encode() for word in ("see", "mask"))
  assert hosts.changed(old, new, "a.py", words=True) == ["g"]


def test_an_import_by_an_old_name_is_told_todays():
  assert moved.remedy("ModuleNotFoundError: No module named 'model.see'") == "; model.see is model.mask now"
  cannot = "ImportError: cannot import name 'Gpt' from 'model.language' (/somewhere/model/language.py)"
  assert moved.remedy(cannot) == "; model.language.Gpt is model.models.gpt.Gpt now"
  for other in ("No module named 'sea'", "No module named 'model.sea'", "model.depth=0 is no depth"):
    assert moved.remedy(other) == ""
