"""Writers get every ended trial once, whole; what they cannot do is told and costs no result. No network is used."""

import json
import math
import shutil
import struct
import sys
from pathlib import Path

import pytest

from experiments import api
from experiments.cli import cli
from experiments.record import stamp
from experiments.record.corpora import hashes
from experiments.run import writing
from experiments.run.cohorts import trial_key
from experiments.run.store import Store, opened
from experiments.run.workdirs import flat
from experiments.run.writers import wandb as weights
from experiments.run.writers.writer import Trial, Writer
from model.errors import Refused
from tests.experiments.process import ROOT
from tests.train.tiny import TINY, tiny

CURVE = [{"step": 4, "loss": 1.5, "accuracy": 0.25}, {"step": 8, "loss": math.nan, "accuracy": 0.5}]
RESULT = {"schema": 1, "status": "done", "cause": None, "steps": 8, "seconds": 0.5}
MEASURES = {"accuracy": 0.5, "loss": 1.25, "t90": math.inf}

MINE = """
import json
from experiments.run.writers.writer import Writer

class Mine(Writer):
  def write(self, trial, folder):
    told = {"lr": trial.settings["optim.lr"], "rows": len(trial.curve), "status": trial.status}
    (folder / "mine.json").write_text(json.dumps(told))

class Broken(Writer):
  def write(self, trial, folder):
    (folder / "half").write_text("")
    raise OSError("no connection")

class Leaving(Mine):
  def __init__(self):
    raise SystemExit(3)
"""


class Kept(Writer):
  """Remembers what it got; fails on the statuses named."""

  def __init__(self, *fails):
    self.fails, self.trials = fails, []

  def write(self, trial, folder):
    assert folder.is_dir()
    assert not list(folder.iterdir())
    (folder / "seen").write_text(trial.key)
    if trial.status in self.fails:
      raise ValueError("cannot\nnow")
    self.trials.append(trial)


@pytest.fixture
def work(tmp_path):
  """A workdir's store, the configs of two stored trials and their results, by key."""
  root = tmp_path / "work"
  with opened(root, {"command": "sweep", "card": "recall"}):
    store, configs = Store(root), {}
    for status, config in (("done", tiny()), ("diverged", tiny(seed=1))):
      key = trial_key(config, hashes(config))
      configs[key] = config
      store.begin(key, config, [])
      store.finish(key, config, CURVE, RESULT | stamp.code(config) | {"status": status, "measures": MEASURES})
  return store, configs, {key: store.record(key) for key in configs}


def given(store, writers, configs, results):
  """What was warned of while these results were written."""
  said = []
  held = writing.Writing(writers, store, said.append)
  held.take(configs, results)
  held.end()
  return said


# ---------------------------------------------------------------------------------------------------------------------
# What a writer gets, and when


def test_a_writer_gets_each_trial_whole_and_once(work):
  store, configs, results = work
  kept = Kept()
  assert given(store, {"kept": kept}, configs, results) == []
  first, second = kept.trials
  assert (first.key, second.key) == tuple(configs)
  assert first.settings == flat(json.loads((store.trial(first.key) / "config.json").read_text()))
  assert first.curve[0] == CURVE[0]
  assert math.isnan(first.curve[1]["loss"])
  assert first.measures == MEASURES
  assert (second.status, second.steps, second.seconds, second.cause) == ("diverged", 8, 0.5, None)
  assert given(store, {"kept": kept}, configs, results) == []
  assert len(kept.trials) == 2


def test_another_result_replaces_what_was_written_and_a_lost_folder_is_written_again(work):
  store, configs, results = work
  kept = Kept()
  given(store, {"kept": kept}, configs, results)
  one, two = configs
  store.finish(one, configs[one], CURVE, RESULT | {"measures": MEASURES | {"accuracy": 0.75}})
  shutil.rmtree(store.root / "writers" / "kept" / two)
  given(store, {"kept": kept}, configs, {key: store.record(key) for key in configs})
  assert [trial.key for trial in kept.trials] == [one, two, one, two]
  assert kept.trials[2].measures["accuracy"] == 0.75
  given(store, {"kept": kept}, configs, {one: store.record(one) | {"stale": True}})
  assert kept.trials[-1].stale


def test_a_failing_writer_is_told_costs_nothing_and_is_given_the_trial_again(work):
  store, configs, results = work
  broken, kept = Kept("diverged"), Kept()
  first, last = given(store, {"broken": broken, "kept": kept}, configs, results)
  assert "writer broken could not write trial" in first
  assert "(ValueError: cannot now); the run goes on" in first
  assert last == "1 trial is not written by broken; their results are stored, and the same command writes them"
  assert len(kept.trials) == 2
  broken.fails = ()
  assert given(store, {"broken": broken, "kept": kept}, configs, results) == []
  assert [trial.status for trial in broken.trials] == ["done", "diverged"]
  assert len(kept.trials) == 2


def test_a_writer_that_fails_again_and_again_is_asked_no_more(work):
  store, configs, results = work
  broken, many = Kept("done", "diverged"), {}
  said, held = [], writing.Writing({"broken": broken}, store, lambda text: said.append(text))
  for number in range(4):
    many = {key: result | {"seconds": float(number)} for key, result in results.items()}
    held.take(configs, many)
  held.end()
  assert len(said) == writing.GIVES_UP + 1
  assert said[2].endswith("it is asked no more")
  assert said[3].startswith("8 trials are not written by broken")


def test_a_trial_that_cannot_be_read_any_more_costs_the_command_nothing(work):
  store, configs, results = work
  one, two = configs
  (store.trial(one) / "metrics.jsonl").write_text("no JSON")
  kept = Kept()
  first, last = given(store, {"kept": kept}, configs, results)
  assert f"could not write trial {one} (Damaged" in first
  assert last.startswith("1 trial is not written by kept")
  assert [trial.key for trial in kept.trials] == [two]


def test_a_writer_of_another_file_with_the_same_name_gets_its_trials(work, tmp_path, monkeypatch):
  store, configs, results = work
  monkeypatch.chdir(tmp_path)
  for folder in ("a", "b"):
    Path(folder).mkdir()
    (Path(folder) / "mine.py").write_text(MINE)
    (ours,) = writing.chosen(f"./{folder}/mine.py:Mine").items()
    written = store.root / "writers" / "mine.Mine"
    assert given(store, dict([ours]), configs, results) == []
    marks = {path: path.read_text() for path in written.glob("*/written.json")}
    assert len(marks) == 2
    assert all(f"/{folder}/mine.py" in text for text in marks.values())


# ---------------------------------------------------------------------------------------------------------------------
# Who is a writer


@pytest.mark.parametrize("wrong", [Kept, 3, [3], None, [None]])
def test_what_is_no_writer_is_refused(wrong):
  with pytest.raises(Refused, match=r"--writer=.*allowed: tensorboard, wandb, path/to/mine.py:Mine, or an object"):
    writing.chosen(wrong)


def test_every_writer_on_disk_is_known_by_its_file():
  assert {"tensorboard", "wandb"} <= set(writing.kinds())
  assert list(writing.chosen(["tensorboard", Kept()])) == ["tensorboard", "Kept"]


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("tensorbord", "did you mean tensorboard"),
    ("./nowhere.py:Mine", "there is no file ./nowhere.py"),
    ("./mine.py:Other", "has no writer 'Other'; define a subclass"),
    ("./mine.py:json", "has no writer 'json'"),
    ("./mine.py:Leaving", "it ends the program"),
  ],
)
def test_what_is_no_writer_is_one_line_before_anything_is_made(name, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text(MINE)
  assert cli.main(["sweep", "--config=recall", "--axis", "model.heads=1,2", f"--writer={name}"]) == 2
  told = capsys.readouterr().err.strip()
  assert len(told.splitlines()) == 1
  assert f"--writer={name}" in told
  assert said in told
  with pytest.raises(Refused, match=r"^writer=") as fault:
    api.train("recall", writer=name)
  assert said in str(fault.value)
  assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_writer_twice_is_refused():
  with pytest.raises(Refused, match=r"^writer='tensorboard' is given twice"):
    api.train("recall", writer=["tensorboard", "tensorboard"])


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_names_the_extra(name, package, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, package, None)
  assert cli.main(["train", "--config=recall", f"--writer={name}"]) == 2
  told = capsys.readouterr().err.strip()
  assert len(told.splitlines()) == 1
  assert f"install the extra {name}: pip install -e '.[{name}]'" in told
  assert not list(tmp_path.iterdir())


def test_through_train_a_users_writer_gets_what_ran_and_what_was_stored(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text(MINE)
  call = ["train", "--config=recall", *(f"--config.{key}={value}" for key, value in TINY.items()), "--workdir=work"]
  assert cli.main([*call, "--writer=./mine.py:Mine", "--writer=./mine.py:Broken"]) == 0
  said = capsys.readouterr().err
  assert "writer mine.Broken could not write trial" in said
  assert "1 trial is not written by mine.Broken" in said
  (trial,) = Path("work/trials").iterdir()
  told = Path("work/writers/mine.Mine") / trial.name
  status = json.loads((trial / "result.json").read_text())["status"]
  assert json.loads((told / "mine.json").read_text()) == {"lr": 0.01, "rows": 5, "status": status}
  assert not (Path("work/writers/mine.Broken") / trial.name / "written.json").exists()
  shutil.rmtree("work/writers")
  kept = Kept()
  api.train("recall", TINY, workdir="work", writer=kept)
  assert [(one.key, one.workdir) for one in kept.trials] == [(trial.name, Path("work"))]
  assert cli.main(["check", "work"]) == 0


# ---------------------------------------------------------------------------------------------------------------------
# What they write


def trial(root, **more) -> Trial:
  told = {"status": "done", "cause": None, "steps": 8, "measures": MEASURES, "seconds": 0.5}
  return Trial(root, "0123456789abcdef", tiny(), CURVE, **(told | more))


def crc(data: bytes) -> int:
  """CRC-32C bit by bit, masked as TFRecord has it."""
  value = 0xFFFFFFFF
  for byte in data:
    value ^= byte
    for _ in range(8):
      value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
  value ^= 0xFFFFFFFF
  return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data: bytes):
  """The records of a TFRecord file, each proved by both checksums."""
  while data:
    (size,), (head,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
    body, (tail,) = data[12 : 12 + size], struct.unpack("<I", data[12 + size : 16 + size])
    assert (head, tail) == (crc(data[:8]), crc(body))
    yield body
    data = data[16 + size :]


def test_tensorboards_file_holds_curve_end_config_and_table(tmp_path):
  event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
  from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

  writing.chosen("tensorboard")["tensorboard"].write(trial(tmp_path, stale=True), tmp_path)
  (file,) = tmp_path.iterdir()
  assert "tfevents" in file.name
  first, *events = [event_pb2.Event.FromString(body) for body in records(file.read_bytes())]
  assert first.file_version == "brain.Event:2"
  values = [(event.step, value) for event in events for value in event.summary.value]
  scalars = {(step, value.tag): value.simple_value for step, value in values if value.HasField("simple_value")}
  assert scalars.pop((4, "loss")) == 1.5
  assert math.isnan(scalars.pop((8, "loss")))
  curve = {(4, "accuracy"): 0.25, (8, "accuracy"): 0.5}
  assert scalars == curve | {(8, "end/accuracy"): 0.5, (8, "end/loss"): 1.25, (8, "end/t90"): math.inf}
  texts = {value.tag: value.tensor.string_val[0].decode() for _, value in values if value.HasField("tensor")}
  assert texts["status/text_summary"] == "done, stale"
  assert '"kind":"recall"' in texts["config/text_summary"]
  table = {value.tag: value.metadata.plugin_data for _, value in values if value.tag.startswith("_hparams_/")}
  held = HParamsPluginData.FromString(table["_hparams_/session_start_info"].content).session_start_info.hparams
  assert held["optim.lr"].number_value == 0.01
  assert held["model.kind"].string_value == tiny()["model"]["kind"]


@pytest.mark.parametrize(("status", "code"), [("done", 0), ("failed", 1)])
def test_a_run_of_weights_and_biases_is_written_offline(tmp_path, monkeypatch, status, code):
  wandb = pytest.importorskip("wandb")
  from wandb.proto import wandb_internal_pb2
  from wandb.sdk.internal.datastore import DataStore

  for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
    monkeypatch.delenv(name, raising=False)
  told = trial(tmp_path / "work", status=status)
  writing.chosen("wandb")["wandb"].write(told, tmp_path)
  wandb.teardown()  # its own process ends when all is on disk
  (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
  store, found = DataStore(), []
  store.open_for_scan(str(file))
  while (data := store.scan_data()) is not None:
    found.append(wandb_internal_pb2.Record.FromString(bytes(data)))
  (run,) = (record.run for record in found if record.HasField("run"))
  assert run.run_id.startswith(told.key)
  assert (run.project, run.run_group, run.display_name) == ("attention-assay", "work", told.key)
  config = {item.key: json.loads(item.value_json) for item in run.config.update}
  assert config["optim.lr"] == 0.01
  rows = [pairs(record.history.item) for record in found if record.HasField("history")]
  assert [(row["_step"], row["accuracy"]) for row in rows] == [(4, 0.25), (8, 0.5)]
  assert rows[0]["loss"] == 1.5
  assert math.isnan(rows[1]["loss"])
  summary = {}
  for record in found:
    summary |= pairs(record.summary.update) if record.HasField("summary") else {}
  assert (summary["status"], summary["loss"], summary["t90"], summary["steps"]) == (status, 1.25, math.inf, 8)
  (end,) = (record.exit for record in found if record.HasField("exit"))
  assert end.exit_code == code


def pairs(items):
  return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_without_a_key_nothing_is_sent(monkeypatch):
  for name in ("WANDB_MODE", "WANDB_API_KEY"):
    monkeypatch.delenv(name, raising=False)
  assert weights.mode() == "offline"
  monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
  assert weights.mode() == "online"
  monkeypatch.setenv("WANDB_MODE", "offline")
  assert weights.mode() == "offline"
