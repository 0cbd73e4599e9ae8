"""A user's mistake is one line, exit code 2, and nothing compiled or written; JSON documents keep the contract."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from experiments.cli import cli
from experiments.cli.commands import doctor
from experiments.protocol import catalog, scales
from tests.experiments.process import CLAIM, SWEEP, assay
from tests.train.tiny import TINY

COMPARE = ["compare", "attention=dot", "attention=additive", "--config=recall"]
MISTAKES = [
  (["trian"], "did you mean train"),
  (["train"], "--config"),
  (["train", "--config=hedas"], "did you mean heads"),
  (["train", "--config=heads", "--config.model.haeds=3"], "did you mean model.heads"),
  (["train", "--config=heads", "--config.model.heads=3"], "does not divide"),
  (["train", "--config=heads", "--config.model.heads=x"], "model.heads"),
  (["train", "--config=heads", "--config.model.head_dim=-1"], "model.head_dim"),
  (["train", "--config=heads", "--config.optim.lr=-1"], "optim.lr"),
  (["train", "--config=heads", "--config.model.attention.kind=dott"], "did you mean dot"),
  (["train", "--config=heads", "--config.task.pairs=99"], "pairs"),
  (["train", "--config=heads", "--config.seed"], "has no value"),
  (["train", "--config=heads", "--wordir=x"], "did you mean --workdir"),
  (["train", "--config=nothere.py"], "nothere.py"),
  (["reproduce", "HEAD-99"], "HEAD-99"),
  (["reproduce", "HEDA"], "did you mean HEAD"),
  (["reproduce", "--tier=quik"], "did you mean quick"),
  (["reproduce", "--jobs=0"], "--jobs"),
  (["list", "clams"], "did you mean claims"),
  (["sweep", "--config=heads", "--axis", "model.heads"], "model.heads"),
  (["sweep", "--config=heads", "--axis", "model.heads=1,3"], "does not divide"),
  (["compare", "attention=dot", "--config=recall"], "two arms"),
  (["compare", "attention=dot", "attention", "--config=recall"], "KEY=VALUE"),
  (["compare", "attention=dot", "attention=additive", "--config=recall", "--lrs=a"], "--lrs"),
  ([*COMPARE, "--metric=acuracy"], "did you mean accuracy"),
  ([*COMPARE, "--metric=wer"], "there are loss"),
  ([*COMPARE, "--metric=window"], "no measure"),
  ([*COMPARE, "--metric=probe.entropy.entropy"], "--better=max or --better=min"),
  ([*COMPARE, "--metric=probe.entropi.entropy", "--better=max"], "did you mean entropy"),
  ([*COMPARE, "--metric=probe.entropy.entrpy", "--better=max"], "did you mean probe.entropy.entropy"),
  ([*COMPARE, "--metric=loss", "--better=max"], "the min is better"),
  ([*COMPARE, "--seeds=1"], "2 or more"),
  ([*COMPARE, "--lrs=1e-2,0.01"], "names a rate twice"),
  ([*COMPARE, "--config.optim.lr=1"], "--lrs=1e-2 alone"),
  ([*COMPARE, "--config.seed=1"], "--seeds=N"),
  (["compare", "seed=1", "seed=2", "--config=recall"], "--seeds=N"),
  (["compare", "optim.lr=1e-3", "optim.lr=1", "--config=recall"], "--lrs="),
  (["compare", "eval.split=test", "eval.split=validation", "--config=recall"], "test split"),
  (["compare", "eval.judge=true", "eval.judge=false", "--config=recall"], "--metric=wer"),
  (["compare", "probes=longer", "probes=entropy", "--config=recall"], "--metric=probe."),
  (["compare", "model.heads=4", "model.heads=04", "--config=recall"], "the same run"),
  (["sweep", "--config=recall", "--axis", "seed=1,2"], "--seeds=N"),
  (["sweep", "--config=recall", "--axis", "model.heads=1,2", "--config.seed=3"], "--seeds=N"),
  (["sweep", "--config=recall", "--axis", "model.heads=4,04"], "the same run"),
  (["explain", "MECH-999"], "MECH-999"),
  (["ledger", "merge"], "workdir"),
  (["report", "nowhere"], "report.json"),
  (["eval", "nowhere"], "assay train"),
  (["new", "mechanism", "../evil"], "cannot name a file"),
  (["new", "mechanism", "dot"], "exists already"),
  (["doctor", "--config.seed=1"], "leave it out"),
]


@pytest.mark.parametrize(("args", "said"), MISTAKES, ids=[" ".join(args) for args, _ in MISTAKES])
def test_a_mistake_is_one_line(args, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(args) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert len(err.strip().splitlines()) == 1, err
  assert said in err
  assert not list(tmp_path.iterdir()), "a mistake must write nothing"


@pytest.mark.parametrize("what", cli.LISTS)
def test_lists_are_one_document(what, capsys):
  assert cli.main(["list", what, "--json"]) == 0
  document = json.loads(capsys.readouterr().out)
  assert document["schema"] == 1
  assert document["items"]


def test_a_listed_claim_has_every_field(capsys):
  cli.main(["list", "claims", "--json"])
  items = json.loads(capsys.readouterr().out)["items"]
  fields = {"id", "group", "document", "place", "statement", "nature", "evidence", "tiers", "config", "measure", "rule"}
  fields |= {"minimum_effect", "primary_tests", "contradicts", "literature"}
  for item in items:
    assert fields <= set(item)
    assert re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+[a-z]?", item["id"])
    assert item["group"] == item["id"].split("-")[0]
    assert all(set(entry) == {"value", "unit", "source", "checked"} for entry in item["literature"])


def test_a_listed_mechanism_has_every_field(capsys):
  cli.main(["list", "mechanisms", "--json"])
  for item in json.loads(capsys.readouterr().out)["items"]:
    assert all(item[name] for name in ("kind", "file", "paper", "formula", "cost_time", "cost_memory", "supports")), (
      item
    )


def test_explain_and_doctor(capsys):
  assert cli.main(["explain", "MECH-5"]) == 0
  assert "MECH-5" in capsys.readouterr().out
  assert cli.main(["doctor", "--json"]) == 0
  checks = json.loads(capsys.readouterr().out)["checks"]
  assert checks["jit"]["ok"]
  assert re.match(r"\d+ cpu devices?: ", checks["device"]["text"])
  assert checks["cache"]["text"].endswith("one was written and read again"), checks["cache"]


def test_doctor_says_when_the_cache_gives_nothing_back(monkeypatch, capsys):
  monkeypatch.setattr(doctor, "CACHED", "print(0)")
  assert cli.main(["doctor", "--json"]) == 0
  cache = json.loads(capsys.readouterr().out)["checks"]["cache"]
  assert not cache["ok"]
  assert "every run compiles anew" in cache["text"]


@pytest.mark.parametrize(
  ("name", "parts"),
  [
    ("HEAD", ["HEAD-1", "HEAD-2", "HEAD-17", "accuracy at the end"]),
    ("dot", ["a mechanism of attention", "model/attention/dot.py", "scale * q.k"]),
    ("rope", ["a position scheme", "model/position/rope.py"]),
    ("recall", ["a task", "train/tasks/recall.py"]),
    ("rnn", ["a model", "model/"]),
    ("entropy", ["a probe", "probe.entropy.true_key_mass"]),
    ("auc", ["a measure", "mean over training"]),
  ],
)
def test_explain_takes_groups_and_kinds(name, parts, capsys):
  assert cli.main(["explain", name]) == 0
  text = capsys.readouterr().out
  assert all(part in text for part in parts), text
  assert cli.main(["explain", name, "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["items"]


@pytest.mark.parametrize(
  ("what", "name", "said"), [("mechanism", "warm", "a mechanism of attention"), ("task", "mine", "a task")]
)
def test_explain_takes_a_class_of_ones_own(what, name, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["new", what, name, "--here"]) == 0
  capsys.readouterr()
  assert cli.main(["explain", f"./{name}.py:{name.capitalize()}"]) == 0
  assert said in capsys.readouterr().out
  assert cli.main(["explain", f"./{name}.py"]) == 2
  assert f"explained by ./{name}.py:Class" in capsys.readouterr().err
  assert cli.main(["explain", f"./{name}.py:Wrong"]) == 2
  assert "defines no class Wrong" in capsys.readouterr().err
  (tmp_path / "plain.py").write_text("class Plain:\n  pass\n")
  assert cli.main(["explain", "./plain.py:Plain"]) == 2
  assert "neither a mechanism" in capsys.readouterr().err


def test_a_claims_file_with_a_fault_is_explained_by_the_fault_alone(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["new", "claim", "mine", "--here"]) == 0
  text = Path("mine.py").read_text()
  Path("mine.py").write_text(text.replace('metric="', 'metric="x'))
  capsys.readouterr()
  assert cli.main(["explain", "./mine.py"]) == 2
  said = capsys.readouterr().err
  assert "is no measure of arm" in said
  assert ":Class" not in said


@pytest.mark.parametrize(
  ("command", "said"),
  [("eval", "is no workdir of `assay train`"), ("report", "holds no report.json"), ("check", "is no workdir")],
)
def test_a_file_given_as_a_workdir_is_no_damaged_one(command, said, tmp_path, capsys):
  (tmp_path / "file").write_text("mine")
  assert cli.main([command, str(tmp_path / "file")]) == 2
  told = capsys.readouterr().err
  assert said in told
  assert "damaged" not in told
  assert told.count("\n") == 1
  assert (tmp_path / "file").read_text() == "mine"


def test_explain_takes_a_claim_file(tmp_path, monkeypatch, capsys):
  for known in ("_own", "_files"):
    monkeypatch.setattr(catalog, known, {})
  (tmp_path / "mine.py").write_text(CLAIM)
  assert cli.main(["explain", str(tmp_path / "mine.py")]) == 0
  assert "Scaling makes recall faster." in capsys.readouterr().out


def test_probes_measures_and_models_are_defined(capsys):
  found = {}
  for what in ("probes", "measures", "models"):
    cli.main(["list", what, "--json"])
    found[what] = json.loads(capsys.readouterr().out)["items"]
    assert all(item["summary"] and item["definition"] and item["file"] for item in found[what]), what
  assert {item["kind"] for item in found["models"]} == {"bert", "gpt", "seq2seq", "rnn", "rnn_seq2seq"}
  names = {item["name"] for item in found["measures"]}
  assert names >= {*scales.LOOP, *scales.JUDGED, "window", "probe.longer.loss_2x"}
  assert {item["name"] for item in found["probes"]} == set(scales.probes())


def test_a_dry_run_refuses_a_misspelt_measure(tmp_path, monkeypatch, capsys):
  for known in ("_own", "_files"):
    monkeypatch.setattr(catalog, known, {})
  (claim,) = catalog.select(["HEAD-1"])
  study = dataclasses.replace(claim.experiment.study, metric="acuracy")
  wrong = dataclasses.replace(claim, experiment=dataclasses.replace(claim.experiment, study=study))
  monkeypatch.setattr(catalog, "select", lambda names: [wrong])
  assert cli.main(["reproduce", "HEAD-1", "--dry_run"]) == 2
  assert "did you mean accuracy" in capsys.readouterr().err


def test_reproduce_keeps_the_contract(tmp_path):
  (tmp_path / "mine.py").write_text(CLAIM)
  args = ["reproduce", tmp_path / "mine.py", f"--workdir={tmp_path / 'work'}", "--json"]
  done = assay(*args)
  assert done.returncode == 0, done.stderr
  document = json.loads(done.stdout)
  assert set(document) == {"schema", "tier", "workdir", "report", "claims", "summary", "trials", "seconds"}
  assert document["trials"]["ran"] == document["trials"]["planned"] >= 14
  (row,) = document["claims"]
  assert row["verdict"] in ("reproduced", "refuted", "inconclusive")
  assert row["seeds"] == {"tuning": [0, 1], "reporting": [100, 101, 102]}
  assert {arm["name"] for arm in row["arms"]} == {"dot", "unscaled"}
  test = row["tests"][0]
  assert {"name", "rule", "n", "effect", "ci", "ci_level", "p", "alpha", "minimum_effect", "passed"} <= set(test)
  assert "<html" in Path(document["report"]).read_text()
  trial = tmp_path / "work" / "trials" / row["trials"][0]
  assert {path.name for path in trial.iterdir()} == {"config.json", "metrics.jsonl", "result.json"}
  result = json.loads((trial / "result.json").read_text())
  assert {"schema", "status", "cause", "steps", "measures", "seconds", "code_sha256"} <= set(result)
  again = json.loads(assay(*args).stdout)
  assert again["trials"]["ran"] == 0
  assert again["claims"][0] | {"run": 0} == row | {"run": 0}


def test_sweep_and_its_report(tmp_path):
  work = f"--workdir={tmp_path / 'work'}"
  done = assay("sweep", *SWEEP, "--seeds=2", work, "--json")
  assert done.returncode == 0, done.stderr
  document = json.loads(done.stdout)
  assert [point["point"] for point in document["points"]] == ["lr=1e-3", "lr=1e-2"]
  assert all(point["accuracy"]["n"] == 2 for point in document["points"])
  first = Path(document["report"]).read_text()
  Path(document["report"]).unlink()
  assert assay("report", tmp_path / "work").returncode == 0
  assert Path(document["report"]).read_text() == first
  grown = assay("sweep", *SWEEP[:-1], "optim.lr=1e-3,2e-2", "--seeds=3", work, "--json")
  assert grown.returncode == 0, grown.stderr
  document = json.loads(grown.stdout)
  assert [point["point"] for point in document["points"]] == ["lr=1e-3", "lr=2e-2"]
  trials = document["trials"]
  assert (trials["planned"], trials["stored"], trials["ran"]) == (6, 2, 4)  # only what is missing
  assert "6 trials: 2 stored before, 4 run now; report: " in grown.stderr
  other = assay("compare", "attention=dot", "attention=additive", *SWEEP[:-2], work)
  assert other.returncode == 2
  assert "belongs to `assay sweep` on card recall; received `assay compare`" in other.stderr


def test_what_only_building_the_model_can_refuse_leaves_nothing(tmp_path):
  """A table too short is found when the step is traced, a width that rotation cannot pair when the model is built."""
  flags = [f"--config.{key}={value}" for key, value in TINY.items()]
  learned, rope = (f"--config.model.position.kind={kind}" for kind in ("learned", "rope"))
  work = tmp_path / "work"
  for wrong in ((learned, "--config.model.position.length=2"), (rope, "--config.model.head_dim=5")):
    refused = assay("train", "--config=recall", *flags, *wrong, f"--workdir={work}")
    assert refused.returncode == 2, refused.stderr
    assert len([line for line in refused.stderr.splitlines() if line.startswith("assay: ")]) == 1
    assert "Traceback" not in refused.stderr
    assert not work.exists()
  done = assay("train", "--config=recall", *flags, learned, f"--workdir={work}")
  assert done.returncode == 0, done.stderr


def test_dry_runs_write_nothing(tmp_path):
  done = assay("sweep", *SWEEP, "--dry_run", "--json", f"--workdir={tmp_path / 'work'}")
  assert done.returncode == 0, done.stderr
  items = json.loads(done.stdout)["items"]
  assert all(item["parameters"] > 0 and item["flops"] > 0 for item in items)
  assert not (tmp_path / "work").exists()


def test_train_then_eval(tmp_path):
  flags = [f"--config.{key}={value}" for key, value in TINY.items()]
  done = assay("train", "--config=recall", *flags, f"--workdir={tmp_path / 'work'}", "--json")
  assert done.returncode == 0, done.stderr
  trained = json.loads(done.stdout)
  found = json.loads(assay("eval", tmp_path / "work", "--split=validation", "--json").stdout)
  assert found["step"] == 8
  assert found["measures"]["loss"] == pytest.approx(trained["measures"]["loss"], rel=1e-6)
  flip = next((tmp_path / "work" / "cohorts").glob("*/checkpoints/8/state/d/*"), None) or next(
    (tmp_path / "work" / "cohorts").glob("*/checkpoints/8/state/**/d/*")
  )
  flip.write_bytes(bytes([flip.read_bytes()[0] ^ 1]) + flip.read_bytes()[1:])
  broken = assay("eval", tmp_path / "work")
  assert broken.returncode == 2
  assert "Traceback" not in broken.stderr


def test_a_shadowed_package_is_refused(tmp_path):
  (tmp_path / "model").mkdir()
  (tmp_path / "model" / "__init__.py").write_text("")
  done = assay("list", "claims", cwd=tmp_path)
  assert done.returncode in (1, 2)
  assert "model" in done.stderr


def test_what_is_stored_gives_the_same_rows_and_leaves_the_report_alone(tmp_path):
  args = ["reproduce", "MECH-1", "MECH-6", "--tier=exact", "--json", f"--workdir={tmp_path / 'work'}"]
  first, report = json.loads(assay(*args).stdout), tmp_path / "work" / "report.html"
  written = report.stat().st_mtime_ns
  assert "assay reproduce MECH-1 MECH-6 --tier=exact" in report.read_text()  # the command that makes it again
  again = json.loads(assay(*args).stdout)
  assert [row | {"run": 0} for row in again["claims"]] == [row | {"run": 0} for row in first["claims"]]
  assert report.stat().st_mtime_ns == written
  report.unlink()
  assert assay(*args).returncode == 0
  assert report.exists()


def test_words_may_stand_behind_flags():
  space, _ = cli.parse(cli.parser(), ["ledger", "prove", "--replay", "HEAD-1", "POS"])
  assert (space.action, space.names, space.replay) == ("prove", ["HEAD-1", "POS"], True)
