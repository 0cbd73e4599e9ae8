"""What counts as a change of code, and which files a config runs through."""

import ast
import sys
from pathlib import Path

import pytest

from experiments import digest, sources

SOURCE = '''"""Doc."""
import math  # a comment

SCALE = 2.0


def scale(x, y=None):
  """Formula."""
  return x * SCALE
'''
TREE = {
  "model/__init__.py": "",
  "model/build.py": "import importlib\nfrom model import errors\n",
  "model/errors.py": "",
  "model/unused.py": "",
  "model/attention/__init__.py": "",
  "model/attention/mechanism.py": "",
  "model/attention/dot.py": "from .mechanism import Mechanism\n",
  "model/attention/additive.py": "from model.attention.mechanism import Mechanism\n",
  "model/position/none.py": "import jax\n",
  "model/feedforward/relu.py": "from ..attention import mechanism\n",
  "train/loop.py": "def run():\n  import train.step\n",
  "train/step.py": "from model.build import model\nfrom experiments import stats\n",
  "train/tasks/recall.py": "from train.tasks.task import Task\n",
  "train/tasks/task.py": "from train.tasks import recall\n",  # a circle
  "train/tasks/markov.py": "",
}
CONFIG = {
  "model": {
    "kind": "bert",
    "width": 8,
    "attention": {"kind": "dot"},
    "position": {"kind": "none"},
    "feedforward": {"kind": "relu"},
    "init": {"kind": "lecun"},
  },
  "task": {"kind": "recall"},
}


@pytest.fixture
def tree(tmp_path):
  for path, text in TREE.items():
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
  return tmp_path


def sha(tmp_path, text):
  (tmp_path / "a.py").write_text(text)
  return digest.code_sha256(["a.py"], tmp_path)


@pytest.mark.parametrize(
  ("old", "new"),
  [("# a comment", ""), ("Formula.", "Other words."), ('"""Doc."""\n', ""), ("x * SCALE", "(x  *  SCALE)")],
)
def test_words_and_spaces_do_not_count(tmp_path, old, new):
  assert old in SOURCE
  assert sha(tmp_path, SOURCE) == sha(tmp_path, SOURCE.replace(old, new))


@pytest.mark.parametrize(
  ("old", "new"),
  [("2.0", "2.5"), ("2.0", "2"), ("x * SCALE", "x + SCALE"), ("y=None", "y=0"), ("y=None", "y"), ("math", "cmath")],
)
def test_every_other_change_counts(tmp_path, old, new):
  assert sha(tmp_path, SOURCE) != sha(tmp_path, SOURCE.replace(old, new))


def test_none_is_told_from_nothing(tmp_path):
  assert sha(tmp_path, "def f():\n  return None") != sha(tmp_path, "def f():\n  return")
  assert sha(tmp_path, "x = None") != sha(tmp_path, "x = 0")
  assert sha(tmp_path, "x = 'doc'\n") != sha(tmp_path, "x = 'other'\n")


def test_the_dump_tells_what_the_standard_one_tells():
  """On this repository's own files: equal after a round trip through source text, as `ast.dump` is."""
  for path in Path(digest.__file__).parent.glob("*.py"):
    tree = ast.parse(path.read_text())
    again = ast.parse(ast.unparse(tree))
    assert sources.dump(tree, []) == sources.dump(again, [])


def test_fields_that_new_versions_add_empty_do_not_count():
  function = ast.parse("def f(): return 1").body[0]
  assert "type_params" not in sources.dump(function, [])
  if sys.version_info >= (3, 12):
    assert "type_params" in sources.dump(ast.parse("def f[T](x: T): return 1").body[0], [])


def test_order_does_not_count_but_names_do(tree):
  files = ["model/attention/dot.py", "model/attention/additive.py"]
  one = digest.code_sha256(files, tree)
  assert one == digest.code_sha256([*reversed(files), files[0]], tree)
  assert one != digest.code_sha256(files[:1], tree)
  assert digest.code_sha256(["model/errors.py"], tree) != digest.code_sha256(["model/unused.py"], tree)


def test_a_config_uses_its_kinds_and_what_they_import(tree):
  assert digest.files_in_use(CONFIG, tree) == [
    "model/__init__.py",
    "model/attention/__init__.py",
    "model/attention/dot.py",
    "model/attention/mechanism.py",
    "model/build.py",
    "model/errors.py",
    "model/feedforward/relu.py",
    "model/position/none.py",
    "train/loop.py",
    "train/step.py",
    "train/tasks/recall.py",
    "train/tasks/task.py",
  ]


def test_a_change_elsewhere_leaves_the_digest(tree):
  before = digest.code_sha256(digest.files_in_use(CONFIG, tree), tree)
  for path in ("model/attention/additive.py", "train/tasks/markov.py", "model/unused.py"):
    (tree / path).write_text("changed = 1\n")
  assert digest.code_sha256(digest.files_in_use(CONFIG, tree), tree) == before
  (tree / "model/attention/mechanism.py").write_text("changed = 1\n")
  assert digest.code_sha256(digest.files_in_use(CONFIG, tree), tree) != before


def test_a_mechanism_of_the_user_counts_and_an_unknown_one_is_told(tree, tmp_path):
  (tmp_path / "mine.py").write_text("from model.attention.mechanism import Mechanism\n")
  mine = str(tmp_path / "mine.py")
  own = {**CONFIG, "model": {**CONFIG["model"], "attention": {"kind": f"{mine}:Mine"}}}
  assert mine in digest.files_in_use(own, tree)
  unknown = {**CONFIG, "model": {**CONFIG["model"], "attention": {"kind": "nowhere"}}}
  with pytest.raises(FileNotFoundError, match="nowhere"):
    digest.files_in_use(unknown, tree)


def test_a_probe_counts_where_it_is_asked_for_and_nowhere_else(tree):
  probes = {"experiments/probes/entropy.py": "from experiments.probes import look\nfrom experiments import stats\n"}
  probes |= {"experiments/probes/look.py": "", "experiments/probes/pruning.py": "", "experiments/stats.py": ""}
  for path, text in probes.items():
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)
  assert digest.files_in_use({**CONFIG, "probes": []}, tree) == digest.files_in_use(CONFIG, tree)
  used = set(digest.files_in_use({**CONFIG, "probes": ["entropy"]}, tree)) - set(digest.files_in_use(CONFIG, tree))
  assert used == {"experiments/probes/entropy.py", "experiments/probes/look.py"}


def test_words_are_the_texts_of_the_code(tree):
  (tree / "model/errors.py").write_text('made = {"kind": "dot", "scale": 1.0}  # not this\n')
  assert digest.words("model/errors.py", tree) == {"kind", "dot", "scale"}
