"""`assay runs`: every stored trial once, with what differs; the same from Python; nothing is run or written."""

import csv
import io
import json

import pytest

from configs import override
from experiments import api
from experiments.cli import cli
from experiments.record import corpora, stamp
from experiments.record.corpora import hashes
from experiments.run import workdirs as workdirs_of_runs
from experiments.run.cohorts import trial_key
from experiments.run.store import Store, opened
from model.errors import Refused
from tests.train.tiny import tiny

RESULT = {"schema": 1, "status": "done", "cause": None, "steps": 8, "seconds": 0.5}


def stored(root, command="sweep", **trials):
  """A workdir with these trials: name -> (config, result); None for one that is not finished."""
  keys = {}
  with opened(root, {"command": command, "card": "recall"}):
    store = Store(root)
    for name, (config, result) in trials.items():
      key = keys[name] = trial_key(config, hashes(config))
      store.begin(key, config, [{"step": 2, "loss": 1.5}])
      if result is not None:
        store.finish(key, config, [{"step": 8, "loss": 1.0}], RESULT | stamp.code(config) | result)
  return keys


@pytest.fixture
def workdirs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  one, two = (tiny(model__heads=heads) for heads in (1, 2))
  first = stored(
    tmp_path / "assay-results" / "sweep-recall",
    one=(one, {"measures": {"accuracy": 0.25, "loss": float("nan")}}),
    two=(two, {"measures": {"accuracy": 0.75, "loss": 0.5}}),
    begun=(tiny(model__heads=4), None),
  )
  second = stored(
    tmp_path / "assay-results" / "other", "compare", two=(two, {"measures": {"accuracy": 0.5}, "status": "stalled"})
  )
  return first, second


def answered(capsys, *args):
  assert cli.main(["runs", *args]) == 0
  return capsys.readouterr()


def test_all_trials_under_the_default_folder_with_the_keys_that_differ(workdirs, capsys):
  (document,) = [json.loads(answered(capsys, "--json").out)]
  assert document["schema"] == 1
  told = [(item["workdir"], item["config"], item["status"], item["steps"]) for item in document["items"]]
  sweep, other = "assay-results/sweep-recall", "assay-results/other"
  heads = [{"model.heads": count} for count in (1, 2, 4)]
  assert told == [
    (other, heads[1], "stalled", 8),
    (sweep, heads[0], "done", 8),
    (sweep, heads[1], "done", 8),
    (sweep, heads[2], "unfinished", 2),
  ]
  assert document["items"][1]["measures"] == {"accuracy": 0.25, "loss": "nan"}
  assert [item["trial"] for item in document["items"][1:]] == list(workdirs[0].values())


def test_a_condition_chooses_by_config_status_and_measure(workdirs, capsys):
  for where, names in {
    "model.heads>=2 and status=done": ["two"],
    "accuracy<0.3 or status=unfinished": ["one", "begun"],
    "not (steps=8)": ["begun"],
  }.items():
    items = json.loads(answered(capsys, "assay-results/sweep-recall", "--where", where, "--json").out)["items"]
    assert [item["trial"] for item in items] == [workdirs[0][name] for name in names], where
  (alone,) = api.runs(where="model.heads=1").rows
  assert alone["model.heads"] == 1  # named, though nothing listed differs in it
  out, err = answered(capsys, "--where", "accuracy>2")
  assert out == ""
  assert "no trial fulfils the condition" in err


def test_csv_holds_every_measure_and_the_same_as_python(workdirs, capsys):
  lines = list(csv.DictReader(io.StringIO(answered(capsys, "--csv").out)))
  assert [line["model.heads"] for line in lines] == ["2", "1", "2", "4"]
  assert [line["accuracy"] for line in lines] == ["0.5", "0.25", "0.75", ""]
  found = api.runs()
  assert found.document["items"] == json.loads(answered(capsys, "--json").out)["items"]
  frame = found.frame()
  assert list(frame["trial"]) == [line["trial"] for line in lines]
  assert list(frame["accuracy"].dropna()) == [0.5, 0.25, 0.75]
  assert "<table" in found._repr_html_()


def test_the_table_names_columns_briefly(workdirs, capsys):
  head, *lines = answered(capsys).out.splitlines()
  assert head.split() == ["workdir", "trial", "heads", "status", "steps", "accuracy", "loss"]
  assert len(lines) == 4


def test_damage_is_listed_not_hidden(workdirs, capsys):
  path = api.runs("assay-results/other").rows[0]
  file = f"assay-results/other/trials/{path['trial']}/result.json"
  with open(file) as held:
    text = held.read()
  with open(file, "w") as held:
    held.write(text.replace("0.5", "0.9"))
  (item,) = json.loads(answered(capsys, "assay-results/other", "--json").out)["items"]
  assert item["status"] == "damaged"
  assert "checksum" in item["cause"]


def test_what_other_code_or_data_made_is_marked_with_what_changed(tmp_path, monkeypatch, capsys):
  """As the command does that would run it again; what is whole, failed or unfinished bears no mark."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text("from model.attention.dot import Dot\nclass Mine(Dot):\n  pass\n")
  (tmp_path / "words.txt").write_text("one two three")
  mine = {"model__attention__kind": "./mine.py:Mine"}
  ours, whole = tiny(), {"measures": {"accuracy": 0.5}}
  configs = {"ours": ours, "mine": tiny(**mine), "data": tiny(seed=1), "failed": tiny(seed=2, **mine)}
  read = {str(tmp_path / "words.txt"): corpora.sha256_of(str(tmp_path / "words.txt"))}
  keys = stored(
    tmp_path / "work",
    ours=(configs["ours"], whole),
    mine=(configs["mine"], whole),
    data=(configs["data"], whole | {"read": read}),
    failed=(configs["failed"], whole | {"status": "failed", "files": {}}),
    begun=(tiny(seed=3), None),
  )

  def marked():
    items = json.loads(answered(capsys, "work", "--json").out)["items"]
    return {
      name: item["changed"] for name, key in keys.items() for item in items if item["trial"] == key and item["stale"]
    }

  assert marked() == {}
  (tmp_path / "mine.py").write_text("from model.attention.dot import Dot\nclass Mine(Dot):\n  more = 1\n")
  (tmp_path / "words.txt").write_text("four five six seven")
  assert marked() == {"mine": "mine.py", "data": "words.txt"}
  out, err = answered(capsys, "work", "--where", "stale=true")
  assert out.count("done, stale") == 2
  assert "2 stale: mine.py, words.txt changed since" in err
  assert [row["stale"] for row in api.runs("work", where="changed=mine.py").rows] == [True]
  (tmp_path / "mine.py").unlink()
  assert marked() == {"mine": "mine.py (gone)", "data": "words.txt"}


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (["nowhere"], "nowhere is no workdir and holds none"),
    (["--where", "model.haeds=1"], "did you mean model.heads"),
    (["--where", "status"], "wanted one of ="),
    (["--csv", "--json"], "give one of them"),
  ],
)
def test_mistakes_are_one_line(workdirs, capsys, args, said):
  assert cli.main(["runs", *args]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert len(err.strip().splitlines()) == 1
  assert said in err


def test_nothing_stored_is_an_empty_list(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  out, err = answered(capsys, "--json")
  assert json.loads(out) == {"schema": 1, "items": []}
  assert "no stored trial in ./assay-results" in err
  assert not list(tmp_path.iterdir())


def test_a_training_on_a_text_that_changed_is_marked_and_its_workdir_takes_the_next(tmp_path, monkeypatch, capsys):
  """Nothing of the first is lost; another config is refused as ever."""
  monkeypatch.chdir(tmp_path)
  root, file = tmp_path / "work", tmp_path / "mine.txt"
  file.write_text("the cat sat on the mat. " * 40)
  pairs = {"model.kind": "gpt", "task.kind": "text", "task.path": "./mine.txt", "task.length": 8}
  config = override.resolve(override.load("recall", pairs))
  other = override.resolve(override.load("recall", pairs | {"model.depth": 2}))

  def begun(config):
    key = trial_key(config, hashes(config))
    with opened(root, {"command": "train", "trial": key}, config) as store:
      store.begin(key, config, [{"step": 8, "loss": 1.0}])
      made = RESULT | stamp.code(config) | {"data_sha256": hashes(config), "measures": {"accuracy": 0.5}}
      store.finish(key, config, [{"step": 8, "loss": 1.0}], made)
    return key

  first = begun(config)
  assert workdirs_of_runs.trained(root)[0] == first
  file.write_text("the dog lay on the rug. " * 40)
  assert [row["changed"] for row in api.runs("work").rows] == ["mine.txt"]
  with pytest.raises(Refused, match=r"mine.txt changed since trial .* was made; run `assay train`"):
    workdirs_of_runs.trained(root)
  with pytest.raises(Refused, match=r"model.depth=1; received model.depth=2"):
    begun(other)
  capsys.readouterr()
  second = begun(config)
  assert "trained again, what was trained before is kept" in capsys.readouterr().err
  assert workdirs_of_runs.trained(root)[0] == second != first
  assert {row["trial"]: row["stale"] for row in api.runs("work").rows} == {first: True, second: False}
  out, _ = answered(capsys, "work")
  assert "done, stale" in out


def test_a_class_of_ones_own_stands_in_the_table_without_its_folders(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text("from model.attention.dot import Dot\nclass Mine(Dot):\n  pass\n")
  configs = (tiny(), tiny(model__attention__kind="./mine.py:Mine"))
  stored(tmp_path / "work", **{f"t{i}": (config, {"measures": {"accuracy": 0.5}}) for i, config in enumerate(configs)})
  out, _ = answered(capsys, "work")
  assert "mine.py:Mine" in out
  assert str(tmp_path) not in out
  assert f"{tmp_path}/mine.py:Mine" in answered(capsys, "work", "--csv").out
