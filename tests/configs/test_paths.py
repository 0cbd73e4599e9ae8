"""Files of the user's are found from the current folder and from the card's own, and then from anywhere."""

import json
import os

import pytest

from configs import Refused, override, slots, sweep

MECHANISM = """
from model.attention.dot import Dot

class Mine(Dot):
  pass
"""
CARD = """
from configs import base
def get_config():
  config = base.get_config()
  config.model.attention = {{"kind": {kind!r}}}
  return config
def sweep():
  return [{{"model.attention.kind": {kind!r}}}, {{"model.attention.kind": "dot"}}]
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
  folder = tmp_path / "home"
  (folder / "deep").mkdir(parents=True)
  (folder / "mine.py").write_text(MECHANISM)
  (folder / "deep" / "card.py").write_text(CARD.format(kind="other.py:Mine"))
  (folder / "deep" / "other.py").write_text(MECHANISM)
  monkeypatch.chdir(folder)
  return folder


def kind_of(config):
  return override.resolve(config)["model"]["attention"]["kind"]


@pytest.mark.parametrize("given", ["mine.py", "./mine.py", "deep/../mine.py", "{home}/mine.py", "link.py"])
def test_all_spellings_are_one_path(home, given):
  (home / "link.py").symlink_to("mine.py")
  config = override.load("recall", [f"model.attention.kind={given.format(home=home)}:Mine"])
  assert kind_of(config) == f"{home.resolve()}/mine.py:Mine"


def test_the_home_folder(home, monkeypatch):
  monkeypatch.setenv("HOME", str(home))
  assert kind_of(override.load("recall", ["model.attention.kind=~/mine.py:Mine"])) == f"{home.resolve()}/mine.py:Mine"


@pytest.mark.parametrize("slot", [*slots.SLOTS, "model"])
def test_every_key_that_names_a_class(home, slot):
  names = {"model": ("model/models/gpt.py", "Gpt"), "task": ("train/tasks/recall.py", "Recall")}
  folders = {"model.attention": "attention/dot.py", "model.position": "position/rope.py", "model.cell": "cell/gru.py"}
  file, name = names.get(slot) or ("model/" + folders.get(slot, "feedforward/relu.py"), "")
  name = name or file.rpartition("/")[2].removesuffix(".py").capitalize()
  relative = os.path.relpath(slots.ROOT / file, home)
  recurrent = ["model.kind=rnn"] if slot == "model.cell" else []
  resolved = override.resolve(override.load("recall", [*recurrent, f"{slot}.kind={relative}:{name}"]))
  for part in slot.split("."):
    resolved = resolved[part]
  assert resolved["kind"] == f"{slots.ROOT / file}:{name}"


def test_a_stored_run_is_the_same_from_another_folder(home, tmp_path, monkeypatch):
  texts = ["model.attention.kind=mine.py:Mine"]
  here = override.resolve(override.load("recall", texts))
  (home / "config.json").write_text(json.dumps(here))
  other = tmp_path / "other"
  other.mkdir()
  monkeypatch.chdir(other)
  assert override.resolve(override.load("../home/config.json")) == here
  assert override.resolve(override.load("recall", ["model.attention.kind=../home/mine.py:Mine"])) == here


def test_a_card_names_files_beside_it_and_the_current_folder_comes_first(home):
  beside = f"{home.resolve()}/deep/other.py:Mine"
  assert kind_of(override.load("deep/card.py")) == beside
  assert override.points("deep/card.py")[0] == {"model.attention.kind": beside}
  (home / "other.py").write_text(MECHANISM)
  assert kind_of(override.load("deep/card.py")) == f"{home.resolve()}/other.py:Mine"
  assert override.points("deep/card.py")[0] == {"model.attention.kind": f"{home.resolve()}/other.py:Mine"}


def test_both_folders_are_told_where_neither_has_the_file(home):
  (home / "deep" / "other.py").unlink()
  with pytest.raises(Refused, match=r"neither from the current folder nor from .*deep") as caught:
    override.load("deep/card.py")
  assert str(caught.value).startswith("model.attention.kind=")


def test_a_config_is_named_by_its_absolute_path(home, monkeypatch):
  run = home / "run"
  run.mkdir()
  (run / "config.json").write_text("{}")
  assert override.located("deep/card.py") == f"{home.resolve()}/deep/card.py"
  assert override.located("run/config.json") == f"{run.resolve()}/config.json"
  assert override.located("run") == str(run.resolve())
  assert [override.located(name) for name in (*sweep.cards(), "hedas", "absent.py", "", "\0")] == [
    *sweep.cards(),
    "hedas",
    "absent.py",
    "",
    "\0",
  ]
