"""A user's own work lives in the user's folder: written there, named by its path, tried and run from there."""

import json
import shutil
import subprocess
import sys

import pytest

from configs import override
from experiments.cli import cli
from experiments.cli.commands import new
from experiments.protocol import catalog
from experiments.protocol.study import point
from experiments.record import digest
from model import build
from model.errors import Refused
from tests.experiments.process import CLAIM, ROOT, assay, environment
from tests.train.tasks import written
from tests.train.tiny import TINY

KINDS = ("mechanism", "position", "task", "card", "claim")
SIZES = [f"--config.{key}={value}" for key, value in TINY.items() if not key.startswith("task.")]
MECHANISM = """
from model.attention.mechanism import Mechanism, products
from {helper} import FACTOR

class Mine(Mechanism):
  factor = FACTOR
  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return FACTOR * (products(q_BTKGD, k_BSKD) + inside) / self.head_dim**0.5
"""
WRONG = """
from model.attention.mechanism import Mechanism, products

class Future(Mechanism):
  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return (products(q_BTKGD, k_BSKD - k_BSKD.mean(1, keepdims=True)) + inside) / self.head_dim**0.5

class Batch(Mechanism):
  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return (products(q_BTKGD + q_BTKGD.mean(0, keepdims=True), k_BSKD) + inside) / self.head_dim**0.5
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
  """An empty folder of the user's, where the command runs."""
  folder = tmp_path / "home"
  folder.mkdir()
  monkeypatch.chdir(folder)
  return folder


# ---------------------------------------------------------------------------------------------------------------------
# assay new


@pytest.mark.parametrize("what", KINDS)
def test_here_writes_into_the_current_folder_and_never_over_a_file(home, what, capsys):
  assert cli.main(["new", what, "my_own", "--here"]) == 0
  said, files = capsys.readouterr().out, sorted(path.name for path in home.iterdir())
  assert files == ["my_own.py"] + (["test_my_own.py"] if what in ("mechanism", "position", "task") else [])
  assert "./my_own.py" in said.splitlines()[-1]
  before = (home / "my_own.py").read_text()
  for text in [path.read_text() for path in home.iterdir()]:
    compile(text, "my_own.py", "exec")
    assert "$" not in text
    assert "# here" not in text
    assert max(map(len, text.splitlines())) <= 120
  assert cli.main(["new", what, "my_own", "--here"]) == 2
  assert "exists already" in capsys.readouterr().err
  assert (home / "my_own.py").read_text() == before


@pytest.mark.parametrize("what", KINDS)
def test_without_here_it_lies_where_its_kind_lies(home, what, capsys, monkeypatch):
  monkeypatch.setattr(digest, "root", lambda: home)
  assert cli.main(["new", what, "my_own", "--json"]) == 0
  document = json.loads(capsys.readouterr().out)
  for file in document["files"]:
    assert (ROOT / file.removeprefix(f"{home}/")).parent.is_dir()  # a folder of the repository that is there
    text = (home / file).read_text()
    compile(text, file, "exec")
    assert "$" not in text
    assert "# house" not in text
  assert ("./my_own.py" in document["next"]) == (what == "claim")


def test_a_name_of_ours_is_refused(home, capsys):
  for what, name in (("card", "recall"), ("card", "base"), ("mechanism", "dot"), ("task", "text")):
    assert cli.main(["new", what, name]) == 2
    assert "exists already" in capsys.readouterr().err
  assert not list(home.iterdir())


def test_a_mechanism_shows_a_trained_parameter_beside_a_dial():
  text = (new.TEMPLATES / "mechanism.py.txt").read_text()
  trained, dial = (next(line for line in text.splitlines() if word in line) for word in ("= param(", "= dial("))
  assert "# a trained parameter" in trained
  assert "# a Dial" in dial


def test_what_was_written_resolves_by_its_path_together(home):
  """Mechanism, scheme and task in one card; the claim on its own."""
  for what in KINDS:
    assert cli.main(["new", what, f"my_{what}", "--here"]) == 0
  assert override.points("./my_card.py") == [{"model.heads": 1}, {"model.heads": 4}]
  kinds = {"model.attention": "mechanism:MyMechanism", "model.position": "position:MyPosition", "task": "task:MyTask"}
  texts = [f"{slot}.kind=./my_{kind.replace(':', '.py:')}" for slot, kind in kinds.items()]
  found = override.resolve(override.load("./my_card.py", [*texts, "model.attention.scale=0.5"]))
  assert found["model"]["attention"] == {"kind": f"{home}/my_mechanism.py:MyMechanism", "scale": 0.5}
  assert found["task"]["kind"] == f"{home}/my_task.py:MyTask"
  (claim,) = catalog.select(["./my_claim.py"])
  assert claim.id == "MINE-MYCLAIM"


def test_the_written_tests_pass_where_they_lie(home):
  for what in ("mechanism", "position", "task"):
    assert cli.main(["new", what, f"my_{what}", "--here"]) == 0
  command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
  done = subprocess.run(command, cwd=home, env=environment(), capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout
  assert "4 passed" in done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# Files that lie elsewhere, and what lies beside them


def test_a_helper_is_found_beside_the_file_from_any_folder(home, tmp_path, monkeypatch):
  for number, folder in enumerate(("one", "two"), 1):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "helper_of_mine.py").write_text(f"FACTOR = {number}.0\n")
    (tmp_path / folder / "mine.py").write_text(MECHANISM.format(helper="helper_of_mine"))
  found = [build.resolve("attention", f"../{folder}/mine.py:Mine").factor for folder in ("one", "two")]
  assert found == [1.0, 2.0]  # each its own, though both are named alike


def test_so_is_a_cards_and_a_claims(home, tmp_path):
  for number, folder in enumerate(("one", "two"), 1):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "numbers_of_mine.py").write_text(f"DEPTH = {number}\n")
    card = "from configs import base\nfrom numbers_of_mine import DEPTH\n"
    card += "def get_config():\n  config = base.get_config()\n  config.model.depth = DEPTH\n  return config\n"
    (tmp_path / folder / "card.py").write_text(card)
  path = list(sys.path)
  assert [override.load(f"../{folder}/card.py").model.depth for folder in ("one", "two")] == [1, 2]
  assert sys.path == path
  assert "numbers_of_mine" not in sys.modules


def test_the_time_a_library_takes_to_import_is_not_the_mechanisms(home, tmp_path, monkeypatch):
  package = tmp_path / "site-packages" / "slow_library_of_mine"
  package.mkdir(parents=True)
  spin = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass\nFACTOR = 3.0\n"
  (package / "__init__.py").write_text(spin)
  monkeypatch.syspath_prepend(str(package.parent))
  monkeypatch.setattr(build, "IMPORT_SECONDS", 0.2)
  (home / "mine.py").write_text(MECHANISM.format(helper="slow_library_of_mine"))
  assert build.resolve("attention", "mine.py:Mine").factor == 3.0
  (home / "endless.py").write_text("while True: pass")
  with pytest.raises(Refused, match="took longer"):
    build.resolve("attention", "endless.py:Mine")


def test_a_claim_names_files_beside_it_from_any_folder(home, tmp_path, monkeypatch):
  (home / "helper_of_claim.py").write_text("FACTOR = 1.0\n")
  (home / "mine.py").write_text(MECHANISM.format(helper="helper_of_claim"))
  (home / "card.py").write_text("from configs import base\ndef get_config(): return base.get_config()\n")
  text = CLAIM.replace('card="recall"', 'card="./card.py"').replace("MINE-TINY", "MINE-BESIDE")
  text = text.replace('{"model.attention.scale": 1.0}', '{"model.attention.kind": "./mine.py:Mine"}')
  (home / "claim.py").write_text(text.replace('name="tiny"', 'name="beside"'))
  for folder, name in ((home, "./claim.py"), (tmp_path, "home/claim.py")):
    monkeypatch.chdir(folder)
    (claim,) = catalog.select([name])
    plan = claim.experiment.study
    assert plan.card == f"{home}/card.py"
    config = point(plan, "quick", "unscaled", lr=1e-2, seed=0, split="test")
    assert config["model"]["attention"]["kind"] == f"{home}/mine.py:Mine"


def test_the_file_of_a_tasks_data_is_found_beside_its_card(home, tmp_path, monkeypatch):
  (home / "words.txt").write_text("the cat sat " * 500)
  card = "from configs import base\ndef get_config():\n  config = base.get_config()\n  config.model.kind = 'gpt'\n"
  card += "  config.task = {'kind': 'text', 'path': './words.txt'}\n  return config\n"
  (home / "card.py").write_text(card)
  for folder, name in ((home, "./card.py"), (tmp_path, "home/card.py")):
    monkeypatch.chdir(folder)
    assert override.resolve(override.load(name))["task"]["path"] == f"{home}/words.txt"
  config = override.load("recall", ["model.kind=gpt", "task.kind=text", "task.path=home/words.txt"])
  assert config.task.path == f"{home}/words.txt"


# ---------------------------------------------------------------------------------------------------------------------
# assay test


def tried(home, kind, code):
  done = assay("test", kind, "--json", cwd=home)
  assert done.returncode == code, done.stderr
  document = json.loads(done.stdout)
  assert set(document) == {"schema", "class", "family", "passed", "failed"}
  return document, {one["name"]: one["cause"] for one in document["failed"]}


@pytest.mark.slow  # three whole contracts
def test_mechanisms_that_are_wrong_are_told_why_and_a_right_one_passes(home):
  (home / "wrong.py").write_text(WRONG)
  document, failed = tried(home, "./wrong.py:Future", 3)
  assert (document["schema"], document["family"]) == (1, "mechanism")
  assert document["class"] == f"{home}/wrong.py:Future"
  assert failed["no gradient reaches the future"] == "the output at token 0 depends on keys after it"
  assert "a row depends on no other row of its batch" in document["passed"]
  _, failed = tried(home, "wrong.py:Batch", 3)
  why = "the output of row 0 changes when only row 1 of the batch does"
  assert failed["a row depends on no other row of its batch"] == why
  assert cli.main(["new", "mechanism", "right", "--here"]) == 0
  document, failed = tried(home, "./right.py:Right", 0)
  assert failed == {}
  assert len(document["passed"]) >= 19


def test_a_scheme_that_looks_ahead_fails_in_one_line_and_the_rest_is_told(home):
  text = "import jax.numpy as jnp\nfrom model.position.scheme import Position\nclass Ahead(Position):\n"
  text += "  def embed(self, x_BTM, where):\n    return x_BTM + jnp.roll(x_BTM, -1, 1)\n"
  (home / "ahead.py").write_text(text)
  document, failed = tried(home, "ahead.py:Ahead", 3)
  assert document["family"] == "position"
  assert failed["no answer depends on a later token"] == "outputs before token 3 change when only tokens from 3 on do"
  assert "turning keeps lengths" in document["passed"]
  assert all("\n" not in cause for cause in failed.values())


def test_a_task_is_tried_too_and_its_table_is_short(home):
  assert cli.main(["new", "task", "mine", "--here"]) == 0
  source = (home / "mine.py").read_text()
  done = assay("test", "mine.py:Mine", cwd=home)
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout.splitlines()[-1] == "mine.py:Mine keeps all 5 contracts of a task"
  (home / "mine.py").write_text(source.replace("1.0 / symbols", "0.9"))
  done = assay("test", "mine.py:Mine", cwd=home)
  assert done.returncode == 3
  assert "floor is not the accuracy of the best constant answer" in done.stdout
  assert "breaks 1 of 5 contracts" in done.stdout


def test_a_cell_is_tried_too(home):
  tanh = (ROOT / "model" / "cell" / "tanh.py").read_text()
  (home / "mine.py").write_text(tanh.replace("class Tanh", "class Mine"))
  document, failed = tried(home, "mine.py:Mine", 0)
  assert document["family"] == "cell"
  assert failed == {}
  assert len(document["passed"]) >= 8


@pytest.mark.parametrize(
  ("text", "kind", "told"),
  [
    ("", "mine.py", "path/to/mine.py:Mine"),
    ("", "nowhere.py:Mine", "no file 'nowhere.py'"),
    ("x = 1", "mine.py:Mine", "defines no class Mine"),
    ("class Mine: pass", "mine.py:Mine", "no contract is known"),
    ("from model.language import Gpt\nclass Mine(Gpt): pass", "mine.py:Mine", "allowed: Mechanism of"),
    (
      "from train.tasks.task import Task\nclass Mine(Task): pass\n1 / 0",
      "mine.py:Mine",
      "mine.py:3: ZeroDivisionError",
    ),
    ("def f(", "mine.py:Mine", "is not Python"),
  ],
)
def test_any_other_class_is_refused_in_one_line(home, capsys, text, kind, told):
  (home / "mine.py").write_text(text)
  assert cli.main(["test", kind]) == 2
  said = capsys.readouterr()
  assert said.out == ""
  assert len(said.err.strip().splitlines()) == 1
  assert told in said.err


def test_without_pytest_it_is_refused(home, capsys, monkeypatch):
  from experiments.cli.commands import test

  (home / "mine.py").write_text("from train.tasks.task import Task\nclass Mine(Task): pass\n")
  found = test.importlib.util.find_spec
  monkeypatch.setattr(test.importlib.util, "find_spec", lambda name: None if name == "pytest" else found(name))
  assert cli.main(["test", "mine.py:Mine"]) == 2
  assert "pip install -e '.[test]'" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# A text file of the user's


def test_a_text_file_trains_a_model_from_its_folder(home):
  shutil.copy(written.path(), home / "mine.txt")
  text = [
    "--config=recall",
    *SIZES,
    "--config.task.kind=text",
    "--config.task.path=./mine.txt",
    "--config.task.length=8",
  ]
  document = json.loads(assay("train", *text, "--config.model.kind=gpt", "--json", cwd=home).stdout)
  stored = json.loads((home / "assay-results" / "train-recall" / "plan.json").read_text())
  assert document["status"] in ("done", "stalled", "diverged"), stored
  assert 0 < document["measures"]["accuracy"] < 1


@pytest.mark.parametrize(
  ("content", "told"), [(None, "cannot be read"), (b"", "is empty"), (b"\0" * 9000, "byte 0"), (b"ab", "too few")]
)
def test_what_is_no_text_is_refused_before_a_worker_starts(home, content, told, capsys):
  if content is not None:
    (home / "mine.txt").write_bytes(content)
  flags = ["--config=recall", "--config.model.kind=gpt", "--config.task.kind=text", "--config.task.path=mine.txt"]
  assert cli.main(["train", *flags, "--workdir=work"]) == 2
  said = capsys.readouterr().err.strip()
  assert len(said.splitlines()) == 1
  assert told in said
  assert not (home / "work").exists()
