"""What is read from the source equals what python says of the imported class."""

import importlib
import inspect

import pytest

from configs import Refused, slots
from configs.values import conform
from model import build
from model.attention.mechanism import Mechanism

FAMILIES = [
  ("attention", "attention"),
  ("position", "position"),
  ("feedforward", "feedforward"),
  ("tasks", "train.tasks"),
]


@pytest.mark.parametrize(("family", "folder"), FAMILIES)
def test_every_file_is_a_kind_and_every_option_is_read(family, folder):
  assert slots.kinds(family) == build.kinds(folder)
  assert slots.kinds(family)
  for kind in slots.kinds(family):
    read, cls = slots.describe(family, kind), build.resolve(folder, kind)
    assert read["class"] == cls.__name__
    assert read["doc"] == inspect.getdoc(inspect.getmodule(cls))
    told = {n: d for n, (_, d) in build.options(cls).items() if d is not build.REQUIRED}
    assert {n: o["default"] for n, o in read["options"].items() if "default" in o} == told
    assert set(read["options"]) == set(build.options(cls))
    for option in read["options"].values():
      if "default" in option:
        assert conform(option["default"], option["type"]) == option["default"]


def test_what_mechanisms_support_is_read():
  for kind in slots.kinds("attention"):
    supports = build.resolve("attention", kind).supports
    assert slots.describe("attention", kind)["supports"] == vars(supports)


def test_ranges_come_from_the_constructor():
  options = slots.describe("tasks", "recall")["options"]
  assert options["pairs"]["low"] == 1
  assert (options["noise"]["low"], options["noise"]["high"]) == (0.0, 1.0)


def test_paper_and_formula():
  dot = slots.describe("attention", "dot")
  assert "Vaswani" in dot["paper"]
  assert "q.k" in dot["formula"]


MINE = '''
"""Mine (Me 2026): score = 0."""
from model.attention.dot import Dot
import no_such_package_and_never_imported

class Mine(Dot):
  """Nothing."""
  def __init__(self, heads, head_dim, *, layer=0, power: int = 2, sizes: tuple[int, ...] = (1, 2), soft=True):
    super().__init__(heads, head_dim, layer=layer)

class Heir(Mine):
  pass

class OfOurs(Dot):
  pass

class Odd(Dot):
  def __init__(self, heads, head_dim, *, table=list()): ...

class Union_(Dot):
  def __init__(self, heads, head_dim, *, size: int | str = 3): ...
'''


def test_a_class_of_the_users_own(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text(MINE)
  monkeypatch.chdir(tmp_path)
  mine = slots.describe("attention", "mine.py:Mine")
  assert mine["options"] == {
    "power": {"type": "int", "default": 2},
    "sizes": {"type": "tuple[int, ...]", "default": (1, 2)},
    "soft": {"type": "bool", "default": True},
  }
  assert slots.describe("attention", f"{tmp_path}/mine.py:Heir")["options"] == mine["options"]
  assert slots.describe("attention", "mine.py:OfOurs")["options"] == slots.describe("attention", "dot")["options"]
  for name in ("Odd", "Union_", "Absent"):
    with pytest.raises(Refused, match=name):
      slots.describe("attention", f"mine.py:{name}")


def test_a_file_written_anew_is_read_anew(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(MINE)
  assert slots.defaults("attention", f"{path}:Mine")["power"] == 2
  path.write_text(MINE.replace("power: int = 2", "power: int = 31"))
  assert slots.defaults("attention", f"{path}:Mine")["power"] == 31


@pytest.mark.parametrize("family", slots.INTERFACES)
def test_what_a_class_must_define_is_what_the_interface_has(family):
  file, name = slots.INTERFACES[family]
  interface = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
  said = set(dir(interface)) | set(inspect.get_annotations(interface))
  assert set(slots.DUTIES[family]) <= said


BEFORE = """
from model.attention.dot import Dot

class Mine(Dot):
  def {}(self, *given):
    pass
"""


@pytest.mark.parametrize(("before", "now"), slots.FORMER["attention"].items())
def test_a_method_by_its_name_before_is_refused(tmp_path, before, now):
  (tmp_path / "mine.py").write_text(BEFORE.format(before))
  with pytest.raises(Refused, match=f"Mine defines {before}, a method that is called {now} now; rename it"):
    slots.options("attention", f"{tmp_path}/mine.py:Mine")
  (tmp_path / "mine.py").write_text(BEFORE.format(now))
  slots.options("attention", f"{tmp_path}/mine.py:Mine")
  assert hasattr(Mechanism, now)
