"""A claim's file is examined whole: each fault is told with claim and field, and every claim of ours is without."""

import dataclasses
import json
import math

import pytest

from experiments.cli import cli
from experiments.cli.commands import new
from experiments.protocol import catalog, claim_files
from experiments.protocol.claim import (
  All,
  Bench,
  Bound,
  Check,
  Citation,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Probe,
  Study,
  Trial,
  greater,
  slope,
)
from model.errors import Refused

TINY = {"train.steps": 8, "eval.every": 4}
STUDY = Study(
  name="mine",
  card="recall",
  arms={"dot": {"model.attention.kind": "dot"}, "additive": {"model.attention.kind": "additive"}},
  metric="auc",
  tiers={"quick": TINY},
  grid=(1e-3, 1e-2),
)
TEST = greater("dot", "additive", 0.02)
CLAIM = Claim(
  id="MINE-1",
  document="extension",
  place="extension",
  statement="Dot learns faster.",
  measure="auc",
  experiment=Trial(STUDY, TEST),
)
NAN, INF = math.nan, math.inf
DEEP = TEST
for _ in range(10_000):
  DEEP = All((DEEP,))


def deep_value():
  one = 1
  for _ in range(100_000):
    one = [one]
  return one


def with_study(**changes):
  return {"experiment": Trial(dataclasses.replace(STUDY, **changes), TEST)}


def with_test(test):
  return {"experiment": Trial(STUDY, test)}


def weighted(weights, above=0.0, name="named"):
  return with_test(Contrast(name, weights, above))


def checked(run, test=Bound("x")):  # noqa: B008
  return {"nature": "exact", "evidence": "check", "experiment": Check(run, test)}


def cited(**changes):
  plain = {"table": (("a", "b"),), "samples": {"x": (1.0,)}, "test": Bound("x", 0, 2)}
  return {"nature": "cited", "evidence": "citation", "experiment": Citation(**plain | changes)}


WRONG = [  # what is changed, the field told, what of the received or allowed is told
  ({"id": 7}, "id", "MINE-1"),
  ({"id": "mine-1"}, "id", "mine-1"),
  ({"document": ["D0"]}, "document", "D0"),
  ({"place": ""}, "place", "not empty"),
  ({"measure": None}, "measure", "None"),
  ({"statement": ""}, "statement", "not empty"),
  ({"statement": 3}, "statement", "3"),
  ({"statement": "word " * 31}, "statement", "30"),
  ({"note": None}, "note", "None"),
  ({"nature": "certain"}, "nature", "exact"),
  ({"evidence": "trail"}, "evidence", "trial"),
  ({"evidence": "", "experiment": None}, "evidence", "check, trial"),
  ({"evidence": "", "experiment": TEST}, "experiment", "Check, Trial"),
  ({"nature": "exact"}, "evidence", "check, citation"),
  ({"evidence": "probe"}, "experiment", "Probe(...)"),
  ({"experiment": TEST}, "experiment", "Trial(...)"),
  ({"experiment": Trial}, "experiment", "Trial(...)"),
  ({"contradicts": "HEAD-1"}, "contradicts", "tuple"),
  ({"contradicts": ("HEAD-999",)}, "contradicts", "HEAD-999"),
  ({"contradicts": ("MINE-1",)}, "contradicts", "another"),
  ({"literature": (("1", "s", "x"),)}, "literature", "Literature("),
  ({"literature": (Literature(1.5, "s", "x 2020"),)}, "literature.value", "1.5"),
  ({"literature": (Literature("1", "s", ""),)}, "literature.source", "not empty"),
  ({"literature": (Literature("1", "s", "x 2020", "yes"),)}, "literature.checked", "yes"),
  ({"experiment": Trial("recall", TEST)}, "study", "Study(...)"),
  (with_study(name=""), "study.name", "not empty"),
  (with_study(card="recal"), "study.arms", "did you mean recall"),
  (with_study(metric=""), "study.metric", "not empty"),
  (with_study(metric="acuracy"), "metric", "did you mean accuracy"),
  (with_study(better="higher"), "better", "max, min"),
  (with_study(metric="loss"), "better", "the min is better"),
  (with_study(x=2), "study.x", "2"),
  (with_study(grid=()), "study.grid", "tuple"),
  (with_study(grid=1e-3), "study.grid", "tuple"),
  (with_study(grid="1e-3"), "study.grid", "tuple"),
  (with_study(grid=[1e-3, 1e-2]), "study.grid", "tuple"),
  (with_study(grid=("1e-3",)), "study.grid", "1e-3"),
  (with_study(grid=(True,)), "study.grid", "True"),
  (with_study(grid=(1e-3, 1e-3)), "grid", "once"),
  (with_study(grid=(0.0, 1e-3)), "optim.lr=0.0", "above 0"),
  (with_study(grid=(1e-3, -1e-3)), "grid", "above 0"),
  (with_study(grid=(1e-3, NAN)), "study.grid", "nan"),
  (with_study(grid=(1e-3, INF)), "study.grid", "inf"),
  (with_study(grid=(1e-3, 10**400)), "study.grid", "learning rates"),
  (with_study(window=(0.0,)), "window", "above 0"),
  (with_study(window=(1e-3, 1e-3)), "window", "once"),
  (with_study(tuning=()), "tuning", "at least one"),
  (with_study(tuning=(0, 0)), "tuning", "once"),
  (with_study(tuning=(0.0, 1)), "study.tuning", "whole"),
  (with_study(tuning=(-1,)), "study.tuning", "whole"),
  (with_study(tuning=(True,)), "study.tuning", "whole"),
  (with_study(reporting=(100, 100)), "reporting", "once"),
  (with_study(reporting=(2**31,)), "study.reporting", "whole"),
  (with_study(reporting=range(100, 112)), "study.reporting", "tuple"),
  (with_study(reporting=(0, 100)), "reporting", "tuning"),
  (with_study(probes="entropy"), "study.probes", "tuple"),
  (with_study(probes=("entropie",)), "study.probes", "entropy"),
  (with_study(probes=("entropy", "entropy")), "study.probes", "once"),
  (with_study(probes=("recording",)), "study.probes", "recording"),
  (with_study(tiers={}), "study.tiers", "not empty"),
  (with_study(tiers=("quick",)), "study.tiers", "dictionary"),
  (with_study(tiers={"quik": {}}), "study.tiers", "quick"),
  (with_study(tiers={"quick": None}), "study.tiers", "overrides"),
  (with_study(tiers={"quick": {"train.step": 3}}), "study.arms", "did you mean train.steps"),
  (with_study(tiers={"quick": {"seed": 3}}), "tier 'quick'", "tuning= and reporting="),
  (with_study(arms={}), "study.arms", "not empty"),
  (with_study(arms=("dot", "additive")), "study.arms", "dictionary"),
  (with_study(arms=STUDY.arms | {3: {}}), "study.arms", "dictionary"),
  (with_study(arms=STUDY.arms | {"a:b": {}}), "arm 'a:b'", "colon"),
  (with_study(arms=STUDY.arms | {"x": "dot"}), "study.arms['x']", "overrides"),
  (with_study(arms=STUDY.arms | {"x": {"model.head": 3}}), "study.arms['x']", "did you mean model.heads"),
  (with_study(arms=STUDY.arms | {"x": {"model.heads": 3}}), "study.arms['x']", "does not divide"),
  (with_study(arms=STUDY.arms | {"x": {"model.heads": deep_value()}}), "study.arms['x']", "number"),
  (with_study(arms=STUDY.arms | {"x": {"optim.lr": 1e-3}}), "arm 'x'", "grid="),
  (with_study(arms=STUDY.arms | {"x": {"probes": ("entropy",)}}), "arm 'x'", "probes="),
  (with_study(arms=STUDY.arms | {"x": {"model.memory": 0, "model.cell.kind": "gru"}}), "study.arms['x']", "no effect"),
  (with_study(tiers={"quick": TINY | {"model.cell.kind": "gru"}}), "study.tiers['quick']", "no effect"),
  (with_study(lean=("dott",)), "study.lean", "dott"),
  (with_study(lean="dot"), "study.lean", "tuple"),
  (with_study(lean=("dot",)), "sample 'additive'", "the arms at tier quick"),
  (with_test(None), "experiment.test", "Contrast"),
  (with_test("dot > additive"), "experiment.test", "Contrast"),
  (with_test(DEEP), "experiment.test", "nests"),
  (with_test(All(())), "experiment.test.parts", "tests"),
  (with_test(All((TEST, 3))), "experiment.test.parts[1]", "Contrast"),
  (with_test(All([TEST])), "experiment.test.parts", "tuple"),
  (weighted({}), "weights", "not empty"),
  (weighted({"dot": 0.0, "additive": 0}), "weights", "all 0"),
  (weighted({"dot": NAN}), "weights['dot']", "finite"),
  (weighted({"dot": "1"}), "weights['dot']", "finite"),
  (weighted({"dott": 1.0}), "sample 'dott'", "did you mean dot"),
  (weighted({"dot:acuracy": 1.0}), "sample 'dot:acuracy'", "did you mean accuracy"),
  (weighted({"dot:probe.entropy.x": 1.0}), "sample", "its probe does not run"),
  (weighted({"dot:wer": 1.0}), "sample 'dot:wer'", "no measure"),
  (weighted({"dot:window": 1.0}), "window", "give it rates"),
  (weighted({"dot": 1.0}, above=NAN), "above", "finite"),
  (weighted({"dot": 1.0}, above=INF), "above", "finite"),
  (weighted({"dot": 1.0}, above=None), "above", "finite"),
  (weighted({"dot": 1.0}, name=""), "name", "not empty"),
  (with_test(Equivalent(TEST, 0.0, TEST)), "margin", "above 0"),
  (with_test(Equivalent(TEST, NAN, TEST)), "margin", "nan"),
  (with_test(Equivalent(TEST, 0.1, None)), "worse", "Contrast"),
  (with_test(Equivalent(TEST, 0.1, Contrast("c", {"no": 1.0}))), "sample 'no'", "names no arm"),
  (with_test(Moderated("m", {"a": TEST})), "cells", "exactly two"),
  (with_test(Moderated("m", {"a": TEST, "b": TEST, "c": TEST})), "cells", "exactly two"),
  (with_test(Moderated("", {"a": TEST, "b": TEST})), "moderator", "not empty"),
  (with_test(Moderated("m", {"a": TEST, "b": TEST}, Contrast("c", {"no": 1.0}))), "sample 'no'", "names no arm"),
  (with_test(Moderated("m", {"a": TEST, "b": TEST}, Bound("dot"))), "interaction", "Contrast"),
  (with_test(Bound("dot", 2.0, 1.0)), "low=2", "high=1"),
  (with_test(Bound("dot", NAN, 1.0)), "low", "nan"),
  (with_test(Bound("nowhere", 0.0, 1.0)), "sample", "nowhere"),
  ({"evidence": "probe", "experiment": Probe(STUDY, TEST)}, "study.probes", "entropy"),
  (checked("mech.nothing"), "experiment.run", "experiments/claims"),
  (checked("nofile.nothing"), "experiment.run", "experiments/claims"),
  (checked(print), "experiment.run", "experiments/claims"),
  (checked("mech.__import__"), "experiment.run", "experiments/claims"),
  (
    {"nature": "measured", "evidence": "bench", "experiment": Bench("score.sped", Bound("x"))},
    "experiment.run",
    "score.speed",
  ),
  (cited(samples={}), "experiment.samples", "not empty"),
  (cited(samples={"x": (NAN,)}), "experiment.samples['x']", "nan"),
  (cited(samples={"y": (1.0,)}), "sample", "'x'"),
  (cited(tiers=("exakt",)), "experiment.tiers", "exact"),
  (cited(table=("ab",)), "experiment.table", "tuple of texts"),
  (cited(identity=1), "experiment.identity", "True or False"),
]


@pytest.mark.parametrize(("change", "field", "told"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_field_is_named_with_what_is_allowed(change, field, told):
  fault = next(claim_files.faults(dataclasses.replace(CLAIM, **change)), None)
  assert fault is not None
  assert field in fault
  assert told in fault
  assert len(fault.splitlines()) == 1
  assert len(fault) < 600


RIGHT = [
  {},
  {"experiment": None},
  {"contradicts": ("HEAD-1",), "note": "scope", "literature": (Literature("1", "s", "x 2020", True),)},
  with_study(window=(1e-3, 3e-3), lean=("additive", "dot"), better="max"),
  with_study(metric="loss", better="min"),
  with_study(tiers={"quick": TINY, "small": {}, "gpu": {}}),
  with_test(Equivalent(TEST, 0.1, Contrast("known", {"dot:loss": 1.0, "additive:loss": -1.0}))),
  with_test(All((Bound("dot", -INF, 1.0), Moderated("m", {"a": TEST, "b": TEST}, TEST)))),
  {
    "evidence": "probe",
    "experiment": Probe(dataclasses.replace(STUDY, probes=("entropy",)), weighted({"dot": 1.0})["experiment"].test),
  },
  cited(),
]


@pytest.mark.parametrize(
  ("experiment", "evidence", "nature"),
  [
    (CLAIM.experiment, "trial", "empirical"),
    (Probe(STUDY, TEST), "probe", "empirical"),
    (Check("mech.checks.weights", Bound("x")), "check", "exact"),
    (Bench("score.speed", Bound("x")), "bench", "measured"),
    (Citation((("a", "b"),), {"x": (1.0,)}, Bound("x")), "citation", "cited"),
  ],
)
def test_evidence_and_nature_follow_from_the_experiment(experiment, evidence, nature):
  one = dataclasses.replace(CLAIM, evidence="", nature="", experiment=experiment)
  assert (one.evidence, one.nature) == (evidence, nature)
  assert dataclasses.replace(one, nature="paper_scale").nature == "paper_scale"


@pytest.mark.parametrize("change", RIGHT, ids=range(len(RIGHT)))
def test_what_is_right_passes(change):
  assert not list(claim_files.faults(dataclasses.replace(CLAIM, **change)))


STUDIED: set[str] = set()  # ours are shared by several claims, and each takes a while


@pytest.fixture
def each_study_once(monkeypatch):
  examine = claim_files._study

  def once(study):
    if study.name not in STUDIED:
      STUDIED.add(study.name)
      yield from examine(study)

  monkeypatch.setattr(claim_files, "_study", once)


@pytest.mark.usefixtures("each_study_once")
@pytest.mark.parametrize("group", catalog.groups())
def test_our_claims_pass(group):
  for claim in catalog.group(group):
    assert not list(claim_files.faults(claim)), claim.id


def test_helpers_that_would_lose_a_sample_are_refused():
  with pytest.raises(Refused, match="with itself"):
    greater("dot", "dot", 0.1)
  for samples, x in ((("a", "a"), (1.0, 2.0)), (("a", "b"), (1.0, 1.0)), (("a", "b"), (1.0,)), ((), ())):
    with pytest.raises(Refused, match="slope"):
      slope(samples, x, 0.1, "name")


# ---------------------------------------------------------------------------------------------------------------------
# Files


FILE = """
import math
from experiments.protocol.claim import *
STUDY = Study(name={name!r}, card="recall", arms={{"a": {{}}, "b": {{"model.heads": 2}}}}, metric="auc",
  tiers={{"quick": {{"train.steps": {steps}, "eval.every": 4}}}}, grid=(1e-3, 1e-2))
CLAIMS = (Claim(id={id!r}, document="extension", place="extension", statement="Two heads help.", measure="auc",
  experiment=Trial(STUDY, greater("b", "a", {by}))),)
"""
PLAIN = {"name": "a study of mine", "steps": 8, "id": "MINE-1", "by": "0.1"}


@pytest.fixture
def write(tmp_path, monkeypatch):
  monkeypatch.setattr(catalog, "_own", {})
  monkeypatch.setattr(catalog, "_files", {})

  def make(file: str, text: str = FILE, **changes) -> str:
    (tmp_path / file).write_text(text.format(**PLAIN | changes) if text is FILE else text)
    return str(tmp_path / file)

  return make


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("import sys; sys.exit()", ":1: it ends the program"),
    ("x = [\n", "SyntaxError"),
    ("CLAIMS = 3", "has no CLAIMS"),
    ("from experiments.claim import Claim", "experiments.claim is experiments.protocol.claim now"),
    ("from experiments import claim", "experiments.claim is experiments.protocol.claim now"),
    (
      "from experiments.protocol import verdict\nverdict.FAMILY = 1.0\nCLAIMS = ()",
      "changes experiments.protocol.verdict.FAMILY",
    ),
    (FILE.format(**PLAIN | {"by": "math.nan"}), "MINE-1: experiment.test.above is nan"),
    (
      FILE.format(**PLAIN | {"name": "heads"}).replace('"model.heads": 2', '"model.heads": 3'),
      "MINE-1: study.arms['b']",
    ),
  ],
)
def test_the_command_tells_a_faulty_file_in_one_line(write, capsys, monkeypatch, tmp_path, text, said):
  monkeypatch.chdir(tmp_path)
  write("mine.py", text)
  for command in (
    ["reproduce", "./mine.py"],
    ["reproduce", "./mine.py", "--dry_run", "--json"],
    ["explain", "./mine.py"],
  ):
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("assay: ./mine.py")
    assert said in line
  assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]


def test_what_a_file_prints_leaves_stdout_alone(write, capfd):
  path = write("mine.py", "print('hello')\n" + FILE.format(**PLAIN))
  assert cli.main(["reproduce", path, "--dry_run", "--json"]) == 0
  out, err = capfd.readouterr()
  (item,) = json.loads(out)["items"]
  assert item["name"] == PLAIN["name"]
  assert "hello" in err


def test_ids_and_studies_of_other_files_are_not_taken_over(write):
  first = write("first.py")
  assert catalog.select([first]) == catalog.select([first])
  with pytest.raises(Refused, match=r"MINE-1: id is that of a claim of .*first.py"):
    catalog.select([first, write("second.py", name="other")])
  with pytest.raises(Refused, match=r"study.name 'a study of mine' is that of another study, of MINE-1"):
    catalog.select([first, write("third.py", id="MINE-2", steps=12)])
  ours = next(claim.experiment.study.name for claim in catalog.all_claims() if isinstance(claim.experiment, Trial))
  with pytest.raises(Refused, match="is that of another study"):
    catalog.select([write("fourth.py", id="MINE-4", name=ours)])
  same = catalog.select([first, write("fifth.py", id="MINE-5")])  # an equal study is the same study
  assert [claim.id for claim in same] == ["MINE-1", "MINE-5"]


def test_the_file_that_a_new_claim_begins_with_passes(write):
  text = new.fill((new.TEMPLATES / "claim.py.txt").read_text(), "fresh_claim")
  (claim,) = catalog.select([write("fresh_claim.py", text)])
  assert claim.id == "MINE-FRESHCLAIM"
  assert not list(claim_files.faults(claim))


def test_a_path_that_can_be_none_is_refused():
  for name in ("nowhere/x.py", "~nobody-here/x.py", "a/b", "x" * 5000 + ".py"):
    with pytest.raises(Refused, match="there is no file"):
      catalog.select([name])
