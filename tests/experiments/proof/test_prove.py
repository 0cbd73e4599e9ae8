"""Rows are renewed by equal programs alone: each kind of change, planted in a copy of the repository."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.proof import history, hosts, lowering, made
from experiments.proof.differences import first, first_in_tests
from experiments.protocol import catalog, today
from model.errors import Refused
from tests.experiments.process import environment
from tests.train.tiny import TINY

ROOT = Path(__file__).parents[3]
MODEL = {name: value for name, value in TINY.items() if not name.startswith("task.")}

# One arm each, so small that a program is lowered in less than a second.
CLAIMS = f"""
from experiments.protocol.claim import Bound, Check, Claim, Study, Trial

MODEL = {MODEL!r}

def trial(id, **settings):
  dotted = {{name.replace("__", "."): value for name, value in settings.items()}}
  plan = Study(name=id, card="recall", arms={{"only": dotted}}, metric="auc", tiers={{"quick": MODEL}},
    tuning=(0,), reporting=(100, 101))
  return claim(id, "trial", Trial(plan, Bound("only", 0.0, 1.0)))

def claim(id, evidence, experiment):
  return Claim(id=id, document="D0", place="D0-1", statement="Tiny.", nature="exact", evidence=evidence,
    measure="m", experiment=experiment)

CLAIMS = (
  trial("TINY-DOT", model__attention__kind="dot"),
  trial("TINY-ADDITIVE", model__attention__kind="additive"),
  trial("TINY-RENAMED", model__attention__kind="talking", model__heads=2),
  trial("TINY-TABLE", task__kind="tabled"),
  trial("TINY-JUDGED", task__kind="judged", eval__judge=True),
  trial("TINY-UNJUDGED", task__kind="judged"),
  claim("TINY-SAME", "check", Check("tiny.checks.same", Bound("a", 0.0))),
  claim("TINY-OTHER", "check", Check("tiny.checks.other", Bound("a", 0.0))),
)
"""
TASK = """
import jax.numpy as jnp
import numpy as np

from train.tasks.recall import Recall

TABLE = np.linspace(1, 2, 300, dtype=np.float32)


class {name}(Recall):
  def __init__(self, *, pairs: int = 3):
    super().__init__(pairs=pairs, keys=4, values=4, queries=2, relations=1)

  def sample(self, key, size, data=()):
    rows = super().sample(key, size, data)
    return rows._replace(weights_BTR=rows.weights_BTR * jnp.asarray(TABLE)[rows.targets_BTR])

  def judge(self, generate, split):
    return {{"right": 1.0}}
"""
CHECKS = """
def same():
  return {"a": [1.0, 2.0]}


def other():
  return {"a": [1.0, 3.0]}
"""
ROWS = """
from experiments.ledger import ledger; from experiments.protocol import today
from experiments.protocol import catalog
from experiments.protocol.verdict import level, verdict

rows = []
for claim in catalog.group("TINY"):
  values = {"TINY-SAME": [1.0, 2.0], "TINY-OTHER": [1.0, 3.0]}.get(claim.id, [0.5, 0.75])
  name = claim.experiment.test.sample
  tier = claim.tiers[0]
  arms = [ledger.arm(name, values, lr=0.01 if claim.evidence == "trial" else None)]
  seeds = {"tuning": [0], "reporting": [100, 101]} if claim.evidence == "trial" else {}
  now = today.now(claim, {"tier": tier, "arms": arms, "seeds": seeds})
  rows.append(ledger.row(claim, tier, "cpu", verdict(claim, {name: values}, level(catalog.group("TINY"))), arms=arms,
    seeds=seeds, config_sha256=now.config_sha256, code_files=now.files, trials=now.trials))
ledger.write(ledger.committed(), rows)
"""
# file, what stands there, what takes its place
CHANGES = (
  (
    "model/attention/dot.py",
    "def scores(",
    "def scores(self, *given, **named):  # the same in two steps\n    return self._of(*given, **named)\n\n  def _of(",
  ),
  ("model/attention/additive.py", "q_BKGTD[:, :, :, :, None] + k_BKSD", "q_BKGTD[:, :, :, :, None] - k_BKSD"),
  ("model/attention/talking.py", "self.before", "self.beforehand"),
  ("model/initial.py", "ALIASES: dict[str, str] = {}", 'ALIASES = {"**/beforehand": "**/before"}'),
  ("train/tasks/tabled.py", "dtype=np.float32)\n", "dtype=np.float32)\nTABLE[250] = 7\n"),
  ("train/tasks/judged.py", '"right": 1.0', '"right": 1.0 + 0.0'),
  ("experiments/claims/tiny/checks.py", '"a": [1.0, 2.0]', '"a": [3.0 - 2.0, 2.0]'),
  ("experiments/claims/tiny/checks.py", "3.0]", "4.0]"),
)


def git(folder, *arguments):
  who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "gc.auto=0")
  subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, check=True)


def change(folder, *changes):
  for name, old, new in changes:
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def assay(folder, *arguments):
  done = subprocess.run(
    [sys.executable, "-m", "experiments.cli", "ledger", *arguments],
    cwd=folder,
    env=environment(PYTHONPATH=str(folder)),
    capture_output=True,
    text=True,
    check=False,
  )
  assert "Traceback" not in done.stderr
  return done


@pytest.fixture(scope="module")
def original(tmp_path_factory):
  """A repository of its own whose one commit made the rows of a few tiny claims."""
  folder = tmp_path_factory.mktemp("repository") / "copy"
  folder.mkdir()
  for name in ("model", "train", "configs", "experiments"):
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
  shutil.copy(ROOT / "README.md", folder)
  (folder / "experiments/claims/tiny").mkdir()
  (folder / "experiments/claims/tiny/__init__.py").write_text(CLAIMS)
  (folder / "experiments/claims/tiny/checks.py").write_text(CHECKS)
  for name in ("tabled", "judged"):
    (folder / f"train/tasks/{name}.py").write_text(TASK.format(name=name.capitalize()))
  made_rows = [sys.executable, "-c", ROWS]
  subprocess.run(made_rows, cwd=folder, env=environment(PYTHONPATH=str(folder)), check=True)
  git(folder, "init", "-q")
  git(folder, "add", ".")
  git(folder, "commit", "-qm", "made")
  return folder


@pytest.fixture
def repository(original, tmp_path):
  shutil.copytree(original, tmp_path / "copy")
  return tmp_path / "copy"


def rows(folder):
  return {
    row["id"]: row for row in map(json.loads, (folder / "experiments/ledger/ledger.jsonl").read_text().splitlines())
  }


def test_what_is_the_same_is_renewed_and_what_is_not_is_named(repository):
  before = rows(repository)
  change(repository, *CHANGES)
  (repository / "train/loop.py").write_text("# a remark\n" + (repository / "train/loop.py").read_text())
  done = assay(repository, "prove", "TINY", "--json")
  assert done.returncode == 4, done.stderr[-2000:]
  found = json.loads(done.stdout)
  assert found["proved"] == [
    f"TINY-{name}" for name in ("DOT/quick/cpu", "RENAMED/quick/cpu", "SAME/exact/cpu", "UNJUDGED/quick/cpu")
  ]
  why = dict(line.split(": ", 1) for line in found["remaining"])
  assert "advance differs" in why["TINY-ADDITIVE/quick/cpu"]
  assert "add" in why["TINY-ADDITIVE/quick/cpu"]
  assert "subtract" in why["TINY-ADDITIVE/quick/cpu"]
  assert "differs" in why["TINY-TABLE/quick/cpu"]
  assert "Judged.judge of train/tasks/judged.py" in why["TINY-JUDGED/quick/cpu"]
  assert "came out otherwise" in why["TINY-OTHER/exact/cpu"]
  after = rows(repository)
  commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
  for key in found["proved"]:
    old, new = before[key.split("/")[0]], after[key.split("/")[0]]
    proof = new.pop("proof")
    assert set(proof) >= {"since", "programs", "sha256", "versions"}
    assert (proof["since"] == commit.stdout.strip()) == (proof["programs"] > 0)
    stamp = ("code_sha256", "code_files", "config_sha256", "trials", "sha256")
    assert {k: v for k, v in new.items() if k not in stamp} == {k: v for k, v in old.items() if k not in stamp}
    assert new["code_sha256"] != old["code_sha256"]
    assert (new["trials"], new["config_sha256"]) == (old["trials"], old["config_sha256"])
  for key in why:
    assert after[key.split("/")[0]] == before[key.split("/")[0]]
  checked = assay(repository, "check", "--json")
  assert {line.split(":")[0] for line in json.loads(checked.stdout)["stale"]} == set(why)
  assert not list((repository / ".git").glob("worktrees/*"))


@pytest.mark.slow
def test_where_programs_differ_equal_runs_decide(repository):
  turned = ("model/attention/additive.py", "q_BKGTD[:, :, :, :, None] + k_BKSD[:, :, None, None]")
  change(repository, (*turned, "k_BKSD[:, :, None, None] + q_BKGTD[:, :, :, :, None]"))
  change(repository, ("train/tasks/judged.py", '{"right": 1.0}', '{"right": 2.0}'))
  assert assay(repository, "prove", "TINY-ADDITIVE").returncode == 4
  done = assay(repository, "prove", "TINY-ADDITIVE", "TINY-JUDGED", "--replay")
  assert done.returncode == 4
  assert rows(repository)["TINY-ADDITIVE"]["proof"]["replayed"] == 1
  assert "measures.right was" in done.stdout


@pytest.mark.slow
def test_an_interrupted_proof_leaves_nothing_behind(repository, tmp_path):
  change(repository, *CHANGES)
  before = rows(repository)
  (tmp_path / "drafts").mkdir()
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.cli", "ledger", "prove", "TINY"],
    cwd=repository,
    env=environment(PYTHONPATH=str(repository), TMPDIR=str(tmp_path / "drafts")),
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stderr
  assert any("programs of" in line for line in process.stderr)
  held = [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == process.pid]
  assert held
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  assert process.returncode == 143
  assert not list((tmp_path / "drafts").iterdir())
  after = rows(repository)
  assert {name for name in before if after[name] != before[name]} == {"TINY-SAME"}  # its proof was complete
  assert not [child for child in held if os.path.exists(f"/proc/{child}")]


def _parent(process):
  try:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
  except (FileNotFoundError, ProcessLookupError):
    return -1


def test_a_commit_of_another_branch_is_refused(tmp_path):
  git(tmp_path, "init", "-q", "-b", "main")
  git(tmp_path, "commit", "-q", "--allow-empty", "-m", "made")
  git(tmp_path, "checkout", "-q", "-b", "aside")
  git(tmp_path, "commit", "-q", "--allow-empty", "-m", "aside")
  git(tmp_path, "checkout", "-q", "main")
  past = history.History(tmp_path)
  assert (past.commit("main"),) == past.commits
  with pytest.raises(Refused, match="--since=aside did not lead to today's HEAD"):
    past.commit("aside")


def test_without_history_it_says_so_in_one_line(repository):
  change(repository, *CHANGES)
  done = assay(repository, "prove", "TINY-DOT", "--since=nothing")
  assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
  assert "--since=nothing is no commit" in done.stderr
  shutil.rmtree(repository / ".git")
  done = assay(repository, "prove", "TINY-DOT")
  assert done.returncode == 2
  assert "needs the history" in done.stderr


@pytest.mark.parametrize(
  "arguments", [["check", "--replay"], ["render", "--release"], ["merge", "--since=a"], ["check", "HEAD-1"]]
)
def test_flags_of_another_action_are_refused(arguments):
  done = assay(ROOT, *arguments)
  assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


# ---------------------------------------------------------------------------------------------------------------------
# What is told apart


def test_the_text_of_a_program_holds_its_constants_and_no_names():
  import jax
  import numpy as np

  table = np.linspace(0, 1, 2000, dtype=np.float32)
  other = table.copy()
  other[1234] += 1

  def program(held, name):
    def inner(x):
      return x * held

    def outer(x):
      return {name: jitted(x)}

    inner.__name__ = outer.__name__ = name
    jitted = jax.jit(inner)
    return lowering._text(jax.jit(outer).lower(np.ones(2000, np.float32)))

  assert program(table, "one") == program(table, "two")
  assert program(table, "one") != program(other, "one")
  assert "one" not in program(table, "one")
  shared = jax.numpy.asarray(table)  # an array of jax is a constant too
  assert program(shared, "one") != program(jax.numpy.asarray(other), "one")


HOST = b'''
"""Words."""
LIMIT = 3


def loop(x):
  return x + LIMIT


class Task:
  size = 2

  def sample(self):
    return self.size

  def judge(self):
    return 1
'''


@pytest.mark.parametrize(
  ("old", "new", "names"),
  [
    (b"Words.", b"Other words.", []),
    (b"x + LIMIT", b"x - LIMIT", ["loop"]),
    (b"LIMIT = 3", b"LIMIT = 4", ["top level"]),
    (b"size = 2", b"size = 3", ["Task"]),
    (b"return self.size", b"return 0", ["Task.sample"]),
    (b"def judge", b"@property\n  def judge", ["Task.judge"]),
    (b"def judge", b"def extra(self): pass\n  def judge", ["Task.extra"]),
    (b"class Task", b"class Task(int)", ["Task"]),
    (b"def loop", b"def loop(x): pass\ndef loop", ["loop"]),
  ],
)
def test_changed_functions_are_named(old, new, names):
  assert hosts.changed(HOST, HOST.replace(old, new), "a.py") == names


def test_host_code_is_seen_by_nobody_but_its_digest():
  judged, plain = {"eval": {"judge": True}}, {"eval": {"judge": False}}
  assert hosts.unseen("model/attention/dot.py", ["Dot.scores"], judged) == []
  assert hosts.unseen("train/step.py", ["ensemble"], judged) == []
  names = ["Task.sample", "Task.judge", "nearest"]
  assert hosts.unseen("train/tasks/g2p.py", names, judged) == ["Task.judge", "nearest"]
  assert hosts.unseen("train/tasks/g2p.py", names, plain) == []
  assert hosts.unseen("train/metrics.py", ["score", "summary"], plain) == ["summary"]
  assert hosts.unseen("experiments/worker/pack.py", ["run", "_result"], plain) == ["_result"]
  assert hosts.unseen("train/generate.py", ["generator"], judged) == ["generator"]
  assert hosts.unseen("train/generate.py", ["generator"], plain) == []
  for path in (
    "train/loop.py",
    "experiments/worker/measured.py",
    "experiments/probes/recording.py",
    "somewhere/new.py",
  ):
    assert hosts.unseen(path, ["any"], plain) == ["any"]


def test_every_host_function_that_is_named_exists():
  for path, names in hosts.TRACED.items():
    assert set(names) <= hosts.units((ROOT / path).read_bytes(), path).keys()


def test_the_first_difference_is_told():
  assert first({"a": [1.0, {"b": 2}]}, {"a": [1.0, {"b": 2, "new": 3}]}, "row") == ""
  assert first({"a": [1.0, {"b": 2}]}, {"a": [1.0, {"b": 3}]}, "row") == "row.a[1].b was 2 and is 3"
  assert first({"a": {}}, {}, "row")
  assert first([1, 2], [1], "row")
  assert first(float("nan"), "nan", "row") == ""


def test_tests_may_gain_fields_at_their_defaults_and_nothing_else():
  test = lowering.plain(catalog.by_id("HEAD-1").experiment.test)
  assert first_in_tests(test, test) == ""
  grown = json.loads(json.dumps(test))
  grown["fields"]["new"], grown["default"] = 1, [*grown["default"], "new"]
  assert first_in_tests(test, grown) == ""
  assert first_in_tests(grown, test)
  grown["default"] = test["default"]
  assert first_in_tests(test, grown)
  assert first_in_tests(test, {**test, "is": "Other"})


def test_what_a_bench_names_has_standard_models():
  from configs import override

  for claim in catalog.all_claims():
    if claim.evidence == "bench" and claim.experiment:
      found = today.standards(claim.experiment)
      assert found
      for settings in found.values():
        override.load("recall", settings)
  assert {"dot", "additive, by blocks"} <= today.standards(catalog.by_id("ADD-1").experiment).keys()


def test_a_bench_is_of_what_it_names():
  held = {claim.id: today.files(claim, "small") for claim in map(catalog.by_id, ("ADD-1", "RNN-1", "HEAD-17"))}
  assert {"experiments/bench/score.py", "model/attention/additive.py", "model/attention/dot.py"} <= set(held["ADD-1"])
  assert {"experiments/bench/models.py", "model/cell/lstm.py", "model/recurrent.py"} <= set(held["RNN-1"])
  assert [path for path in held["RNN-1"] if path.startswith("model/models/")] == ["model/models/rnn.py"]
  assert {"experiments/bench/heads.py", "model/heads.py"} <= set(held["HEAD-17"])
  for files in held.values():
    assert not [path for path in files if path.startswith(("train/", "model/block", "experiments/run/"))]


class Past:
  """A history in which nothing but `beside` changes: it does at the commits in `turns`."""

  def __init__(self, turns, committed=0):
    self.commits, self.turns, self.place = ("c3", "c2", "c1"), turns, committed

  def reading(self, commit, path):
    return sum(commit >= turn for turn in self.turns)

  def committed(self, row):
    return self.place


@pytest.mark.parametrize(
  ("turns", "committed", "refused"), [((), 0, False), (("c2",), 0, True), (("c3",), 1, False), (("c1",), 0, False)]
)
def test_a_file_outside_of_the_digest_must_not_have_changed_while_the_digest_stood(turns, committed, refused):
  """A row that was committed at c2 (place 1) cannot know what c3 brought."""
  row = {"id": "A-1", "tier": "small", "device": "cpu", "code_files": ["a.py"], "code_sha256": "s"}
  search = object.__new__(made.Made)
  search.lab, search.since = type("Lab", (), {"history": Past(turns, committed)})(), ""
  search._found = {(("a.py",), "s"): ["c3", "c2", "c1"]}
  assert search.at(row) == ("c2" if committed else "c3")
  search.cover(row, ["a.py"])
  if refused:
    with pytest.raises(made.Unproved, match=r"left out model/recurrent.py"):
      search.cover(row, ["a.py", "model/recurrent.py"])
  else:
    search.cover(row, ["a.py", "model/recurrent.py"])
  search.cover(row, ["experiments/worker/brief.py"])
