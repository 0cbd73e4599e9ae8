"""What counts as a change of code, and which files a config runs through."""

import ast
import shutil
import sys

import pytest

from configs import override
from experiments.record import corpora, digest, stamp
from model import build
from model.errors import Refused
from tests.train.tiny import tiny

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
  "train/step.py": "from model.build import model\nfrom experiments.protocol import stats\n",
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
  for path in (digest.root() / "experiments").glob("*/*.py"):
    tree = ast.parse(path.read_text())
    again = ast.parse(ast.unparse(tree))
    assert digest.dump(tree, []) == digest.dump(again, [])


def test_fields_that_new_versions_add_empty_do_not_count():
  function = ast.parse("def f(): return 1").body[0]
  assert "type_params" not in digest.dump(function, [])
  if sys.version_info >= (3, 12):
    assert "type_params" in digest.dump(ast.parse("def f[T](x: T): return 1").body[0], [])


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
  entropy = "from experiments.probes import recording\nfrom experiments.protocol import stats\n"
  probes = {"experiments/probes/entropy.py": entropy}
  probes |= {
    "experiments/probes/recording.py": "",
    "experiments/probes/pruning.py": "",
    "experiments/protocol/stats.py": "",
  }
  for path, text in probes.items():
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)
  assert digest.files_in_use({**CONFIG, "probes": []}, tree) == digest.files_in_use(CONFIG, tree)
  used = set(digest.files_in_use({**CONFIG, "probes": ["entropy"]}, tree)) - set(digest.files_in_use(CONFIG, tree))
  assert used == {"experiments/probes/entropy.py", "experiments/probes/recording.py"}


def test_words_are_the_texts_of_the_code(tree):
  (tree / "model/errors.py").write_text('made = {"kind": "dot", "scale": 1.0}  # not this\n')
  assert digest.words("model/errors.py", tree) == {"kind", "dot", "scale"}


def test_what_a_refusal_says_does_not_count_and_what_it_is_about_does(tmp_path):
  text = 'def f(x):\n  if x > 1:\n    raise Refused(f"x={x} is large; " "use 1")\n  raise ValueError("small")\n'
  same = [
    text.replace("is large", "is too large"),
    text.replace('f"x={x} is large; " "use 1"', '"no " + str(x)'),
    text.replace('f"x={x} is large; " "use 1"', '"no %s" % x'),
    text.replace("Refused(", "Refused('more', "),
  ]
  other = [
    text.replace("x > 1", "x > 2"),
    text.replace('"small"', '"other"'),
    text.replace("raise Refused", "return Refused"),
    text.replace('Refused(f"x={x} is large; " "use 1")', "Refused(x)"),
    text.replace("Refused(", "Denied("),
  ]
  assert {sha(tmp_path, one) for one in same} == {sha(tmp_path, text)}
  for one in other:
    assert sha(tmp_path, one) != sha(tmp_path, text)
  qualified = text.replace("Refused", "errors.Refused")
  assert sha(tmp_path, qualified) == sha(tmp_path, qualified.replace("large", "big"))


# ---------------------------------------------------------------------------------------------------------------------
# This repository


def used(**more):
  return set(digest.files_in_use(tiny(**more)))


def test_the_files_that_decide_a_trials_numbers_are_there():
  assert all((digest.root() / start).is_file() for start in digest.STARTS)
  files = used(probes="entropy")
  decide = ("loop", "step", "metrics", "optim", "state", "generate", "tasks/recall")
  ours = [f"train/{name}.py" for name in decide]
  ours += [f"model/{name}.py" for name in ("decode", "language", "initial")]
  ours += [
    f"experiments/{name}.py"
    for name in ("worker/brief", "worker/measured", "probes/entropy", "probes/recording", "probes/subject")
  ]
  for path in ours:
    assert path in files, path
  rooms = ("run", "protocol", "record", "ledger", "pages", "cli")
  assert not [path for path in files if path.startswith(tuple(f"experiments/{room}/" for room in rooms))]
  assert not {f"experiments/worker/{name}.py" for name in ("main", "serve", "pack")} & set(files)


@pytest.mark.parametrize("kind", build.kinds("models"))
def test_the_model_of_a_trial_is_in_its_digest_and_no_other(kind):
  config = tiny()
  found = digest.files_in_use({**config, "model": {**config["model"], "kind": kind}})
  assert [path for path in found if path.startswith("model/models/")] == [f"model/models/{kind}.py"]


def test_older_trees_say_in_their_builder_where_a_model_lies(tree):
  older = 'MODELS = {"bert": ("model.language", "Bert", False), "rnn": ("model.recurrent", "Rnn", False)}\n'
  (tree / "model" / "build.py").write_text(older)
  (tree / "model" / "language.py").write_text("from model import errors\n")
  (tree / "model" / "recurrent.py").write_text("")
  assert "model/language.py" in digest.files_in_use(CONFIG, tree)
  assert "model/recurrent.py" not in digest.files_in_use(CONFIG, tree)
  rnn = {**CONFIG, "model": {**CONFIG["model"], "kind": "rnn"}}
  assert "model/recurrent.py" in digest.files_in_use(rnn, tree)


def test_recurrent_code_belongs_to_recurrent_models():
  recurrent = override.resolve(override.load("recall", {"model.kind": "rnn"}))
  assert "model/recurrent.py" in digest.files_in_use(recurrent)
  assert "model/recurrent.py" not in used()


# ---------------------------------------------------------------------------------------------------------------------
# A user's files

OWN = {
  "mine.py": "import helper\nfrom tools.inner import f\nimport numpy, os\nTABLE = 'table.txt'\n",
  "helper.py": "import deeper\nX = 1\n",
  "deeper.py": "import helper\n",
  "tools/__init__.py": "",
  "tools/inner.py": 'from . import near\nfrom .near import g\n\ndef f():\n  """Formula."""\n  return g()\n',
  "tools/near.py": "g = max\n",
  "table.txt": "1 2 3",
  "unused.py": "",
  "os.py": "",
}
REACHED = sorted(set(OWN) - {"unused.py", "os.py"})


def own(folder, files=OWN):
  for path, text in files.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
  return {**CONFIG, "model": {**CONFIG["model"], "attention": {"kind": f"{folder / 'mine.py'}:Mine"}}}


def test_a_users_file_brings_its_helpers(tree, tmp_path):
  config = own(tmp_path / "user")
  reached = [path for path in digest.files_in_use(config, tree) if path.startswith("/")]
  assert reached == [f"{tmp_path / 'user'}/{path}" for path in REACHED]


@pytest.mark.parametrize("path", REACHED)
def test_a_change_of_any_of_them_is_a_change_of_code(tree, tmp_path, path):
  config = own(tmp_path / "user")

  def now():
    return digest.code_sha256(digest.files_in_use(config, tree), tree)

  before = now()
  (tmp_path / "user" / "unused.py").write_text("X = 2\n")
  assert now() == before
  (tmp_path / "user" / path).write_text(OWN[path] + "\nY = 1\n")
  assert now() != before


def test_words_in_a_users_files_do_not_count(tree, tmp_path):
  config = own(tmp_path / "user")
  before = digest.code_sha256(digest.files_in_use(config, tree), tree)
  own(tmp_path / "user", {"tools/inner.py": OWN["tools/inner.py"].replace("Formula.", "Words.")})
  assert digest.code_sha256(digest.files_in_use(config, tree), tree) == before


def test_it_does_not_count_where_a_users_files_or_the_repository_lie(tree, tmp_path):
  found = set()
  for place in ("one", "two/deeper"):
    config = own(tmp_path / place)
    found.add(digest.code_sha256(digest.files_in_use(config, tree), tree))
  elsewhere = tmp_path / "elsewhere"
  shutil.copytree(tree, elsewhere, ignore=shutil.ignore_patterns("one", "two", "elsewhere"))
  found.add(digest.code_sha256(digest.files_in_use(own(tmp_path / "one"), elsewhere), elsewhere))
  assert len(found) == 1
  swapped = own(tmp_path / "three", {**OWN, "deeper.py": OWN["tools/near.py"], "tools/near.py": OWN["deeper.py"]})
  assert digest.code_sha256(digest.files_in_use(swapped, tree), tree) not in found


def test_a_file_in_the_root_of_the_repository_is_the_users(tree):
  reached = digest.files_in_use(own(tree), tree)
  assert [path for path in reached if path.startswith("/")] == [f"{tree}/{path}" for path in REACHED]


def test_helpers_are_found_in_the_current_folder_and_on_the_path_but_not_in_packages(tree, tmp_path, monkeypatch):
  config = own(tmp_path / "user", {"mine.py": "import here, there, package, math\n"})
  for folder, name in (("now", "here"), ("lib", "there"), ("venv/site-packages", "package")):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / f"{name}.py").write_text("")
  monkeypatch.chdir(tmp_path / "now")
  monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'lib'}:{tmp_path / 'venv/site-packages'}:")
  reached = {path for path in digest.files_in_use(config, tree) if path.startswith("/")}
  assert reached == {f"{tmp_path}/{path}" for path in ("user/mine.py", "now/here.py", "lib/there.py")}


def test_a_users_model_and_task_count_like_a_mechanism(tree, tmp_path):
  mine = tmp_path / "mine.py"
  mine.write_text("X = 1\n")
  config = {**CONFIG, "model": {**CONFIG["model"], "kind": f"{mine}:Mine"}}
  assert str(mine) in digest.files_in_use(config, tree)
  assert str(mine) in digest.files_in_use({**CONFIG, "task": {"kind": f"{mine}:Mine"}}, tree)


def test_a_helper_that_is_not_python_is_told(tree, tmp_path):
  config = own(tmp_path / "user", {**OWN, "helper.py": "def f(:\n"})
  with pytest.raises(Refused, match=r"helper\.py is not Python"):
    digest.files_in_use(config, tree)


# ---------------------------------------------------------------------------------------------------------------------
# What has changed since


def test_a_result_of_other_code_names_the_files(tmp_path):
  stamp.forget()
  config = tiny()
  config = {**config, "model": {**config["model"], "attention": own(tmp_path)["model"]["attention"]}}
  made = stamp.code(config)
  assert stamp.changed(config, made) == []
  (tmp_path / "helper.py").write_text("X = 2\n")
  (tmp_path / "tools" / "near.py").write_text("g = min\n")
  assert stamp.changed(config, made) == []  # one command does not see its code change
  stamp.forget()
  assert stamp.changed(config, made) == ["deeper.py", "helper.py", "tools/near.py"]  # deeper.py is reached no more
  assert stamp.changed(config, {"code_sha256": "ff"}) == ["code"]
  assert stamp.changed(config, {}) == ["code"]


def test_a_result_of_other_data_names_the_files(tmp_path):
  stamp.forget()
  words = tmp_path / "words.txt"
  words.write_text("one")
  made = stamp.code(tiny()) | {"read": {str(words): corpora.sha256_of(words)}}
  assert stamp.changed(tiny(), made) == []
  words.write_text("another")
  assert stamp.changed(tiny(), made) == ["words.txt"]
  words.unlink()
  assert stamp.changed(tiny(), made) == ["words.txt"]
