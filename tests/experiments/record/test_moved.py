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
  for name in ("experiments.probes.look", "model.attention.dot", "experiments"):
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
