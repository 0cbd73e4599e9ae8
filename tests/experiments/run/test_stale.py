"""What other code made is run again, or kept and marked; it is told in one line, and nothing of it is taken up."""

import json

import pytest

from experiments.cli import cli
from experiments.record import stamp
from experiments.run import cohorts, messages
from experiments.run.cohorts import Pack, trial_key
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import Store
from experiments.worker import pack
from experiments.worker import serve as work
from model.errors import Refused
from tests.experiments.process import assay
from tests.train.tiny import TINY, tiny

CURVE = [{"step": 0, "accuracy": 0.0}, {"step": 2, "accuracy": 0.5}]
MINE = """
from helper import factor
from model.attention.mechanism import Mechanism, products


class Mine(Mechanism):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.factor = factor(scale)

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return self.factor * products(q_BTKGD, k_BSKD) + inside
"""


@pytest.fixture(autouse=True)
def _new_command():
  stamp.forget()
  yield
  stamp.forget()


def stored(root, changes):
  """A store with a result for every seed; `changes` go over the record of its code."""
  store, points = Store(root), {}
  for seed, change in enumerate(changes):
    config = tiny(seed=seed)
    key = trial_key(config, {})
    points[key] = config
    result = {"schema": 1, "status": "done", "cause": None, "steps": 2, "measures": {"auc": 0.5}, "seconds": 0.0}
    store.begin(key, config, [])
    store.finish(key, config, CURVE, {**result, **stamp.code(config), **change})
  return store, points


def result(store, key):
  found = store.result(key)
  assert found is not None
  return found


def of_other_code(path="model/heads.py"):
  code = stamp.code(tiny())["code"]
  return {"code_sha256": "ff", "code": {**code, path: "00000000"}}


def asked(store, points, capsys, **options):
  """(results that stand, lines told) without a worker."""
  with Progress("test") as progress, Runner(store, Options(**options), progress) as runner:
    found = [runner._stored(points), runner._stored(points)][0]
  return found, capsys.readouterr().err.splitlines()


def test_what_today_s_code_made_stands_without_a_word(tmp_path, capsys):
  store, points = stored(tmp_path, [{}, {}])
  found, told = asked(store, points, capsys)
  assert found.keys() == points.keys()
  assert not told
  assert not any("stale" in result for result in found.values())


def test_what_other_code_made_runs_again_and_is_told_once(tmp_path, capsys):
  store, points = stored(tmp_path, [{}, of_other_code(), of_other_code("model/block.py")])
  found, told = asked(store, points, capsys)
  assert list(found) == list(points)[:1]
  assert len(told) == 1
  assert "2 trials were made by other code and run again" in told[0]
  assert "model/block.py, model/heads.py changed" in told[0]


def test_it_is_kept_when_asked_for_and_marked(tmp_path, capsys):
  store, points = stored(tmp_path, [{}, of_other_code()])
  found, told = asked(store, points, capsys, keep_stale=True)
  assert [result.get("stale") for result in found.values()] == [None, True]
  assert len(told) == 1
  assert "1 trial was made by other code and kept, marked stale: model/heads.py changed" in told[0]


def test_a_result_that_does_not_say_who_made_it_runs_again(tmp_path, capsys):
  store, points = stored(tmp_path, [{"code_sha256": None, "code": {}}])
  assert not asked(store, points, capsys)[0]


@pytest.mark.parametrize("command", ["train", "sweep", "compare", "reproduce"])
def test_every_command_that_trains_takes_the_flag(command):
  more = {"compare": ["attention=dot", "attention=cosine"]}.get(command, [])
  config = [] if command == "reproduce" else ["--config=recall"]

  def parsed(*given):
    return cli.parse(cli.parser(), [command, *more, *config, *given])[0]

  assert not parsed().keep_stale
  assert parsed("--keep_stale").keep_stale
  assert parsed("--keep-stale").keep_stale
  assert not parsed("--rerun=stale").keep_stale
  with pytest.raises(Refused, match="one of them"):
    parsed("--keep_stale", "--rerun=stale")


def test_a_training_that_other_code_began_is_begun_again(tmp_path):
  """Stopped after its first rows; the same code goes on, other code starts at step 0 with the same end as alone."""
  config = tiny(train__steps=8, eval__every=2)
  one, cohort, store = Pack("c", ("k",), (config,)), pack.prepare(config), Store(tmp_path)
  told = []

  def run(code, stop, keep=False):
    del told[:]
    begun = []
    finished = pack.run(
      store,
      one,
      cohort,
      stamp=lambda config: {"code_sha256": code},
      keep=keep,
      stop=stop,
      progress=begun.append,
      warn=told.append,
    )
    return finished, begun

  assert run("old", lambda: True) == (False, [2])
  assert run("old", lambda: True) == (False, [4])
  assert not told
  assert run("new", lambda: True) == (False, [2])
  assert len(told) == 1
  assert "made by other code" in told[0]
  assert run("new", lambda: False, keep=True) == (True, [4, 6, 8])
  first = result(store, "k")
  assert run("newer", lambda: False, keep=True) == (True, [2, 4, 6, 8])  # never from the state that was kept
  assert not told
  again = result(store, "k")
  assert again["code_sha256"] == "newer"
  assert again["measures"] == first["measures"]


def test_an_old_result_goes_before_its_curve_is_written_over(tmp_path):
  """A rerun that is stopped must not leave the old result beside the new rows."""
  config = tiny()
  store = Store(tmp_path)
  store.begin("k", config, [])
  store.finish("k", config, CURVE, {"schema": 1, "status": "done", "measures": {}, "code_sha256": "old"})
  one = Pack("c", ("k",), (config,))
  made = {"code_sha256": "new"}
  assert not pack.run(store, one, pack.prepare(config), stamp=lambda config: made, stop=lambda: True)
  assert store.result("k") is None


def test_code_that_changes_while_the_command_runs_fails_the_trial(tmp_path):
  config, told = tiny(), []
  request = messages.Train("c", (trial_key(config, {}),), (config,), ("of another moment",))
  assert work.one(tmp_path, request, {}, keep=False, stop=lambda: False, tell=told.append) == "failed"
  assert "changed while the command ran" in told[-1].cause


def test_a_part_that_fails_takes_no_other_with_it(tmp_path, monkeypatch):
  """Members that need programs of their own: one of them crashes, the other one's result stays."""
  configs = (tiny(), tiny(model__attention__kind="cosine"))
  keys = tuple(trial_key(config, {}) for config in configs)
  ran = work.packs.run

  def run(store, part, cohort, **more):
    if part.configs[0]["model"]["attention"]["kind"] == "cosine":
      raise ValueError("broken")
    return ran(store, part, cohort, **more)

  monkeypatch.setattr(work.packs, "run", run)
  told = []
  request = messages.Train("c", keys, configs, tuple(stamp.code(config)["code_sha256"] for config in configs))
  assert work.one(tmp_path, request, {}, keep=False, stop=lambda: False, tell=told.append) == "failed"
  ends = [type(event) for event in told if isinstance(event, messages.Done | messages.Failed)]
  assert ends == [messages.Failed]
  assert result(Store(tmp_path), keys[0])["steps"] == configs[0]["train"]["steps"]
  assert json.loads((Store(tmp_path).trial(keys[1]) / "result.json").read_text())["status"] == "failed"


# ---------------------------------------------------------------------------------------------------------------------
# Where a failure comes from


def failing(folder, text):
  (folder / "mine.py").write_text(text)
  space: dict = {}
  try:
    exec(compile(text, str(folder / "mine.py"), "exec"), space)
    space["run"]()
  except Exception as error:
    return work.cause(error)
  raise AssertionError("nothing failed")


@pytest.mark.parametrize(
  ("text", "cause"),
  [
    ("def run():\n  raise ValueError('so it is')\n", "ValueError: so it is (mine.py:2)"),
    ("import json\ndef run():\n  json.loads('{')\n", "(mine.py:3)"),
    ("import jax\ndef f(x):\n  return x.nothing\ndef run():\n  jax.jit(f)(1.0)\n", "(mine.py:3)"),
    (
      "import jax\ndef f(x):\n  return jax.numpy.dot(x, x[:1])\ndef run():\n  jax.jit(f)(jax.numpy.ones(2))\n",
      "(mine.py:3)",
    ),
    (
      "def run():\n  try:\n    1 / 0\n  except ZeroDivisionError:\n    raise KeyError('k')\n",
      "KeyError: 'k' (mine.py:5)",
    ),
    ("from train import metrics\ndef run():\n  metrics.status([])\n", "(mine.py:3)"),
  ],
)
def test_a_cause_names_the_users_line(tmp_path, text, cause):
  assert failing(tmp_path, text).endswith(cause)


def test_a_cause_of_ours_names_our_line():
  code = compile("cohorts.cohort_key({'model': {}})", json.__file__, "eval")  # as if an installed package called us
  with pytest.raises(KeyError) as failure:
    eval(code, {"cohorts": cohorts})
  assert failure.value.__traceback__
  failure.value.__traceback__ = failure.value.__traceback__.tb_next  # this file is neither ours nor the user's
  assert work.cause(failure.value).startswith("KeyError: 'kind' (experiments/run/cohorts.py:")


# ---------------------------------------------------------------------------------------------------------------------
# As a user does it


@pytest.mark.slow
def test_an_edited_helper_runs_again_from_any_folder(tmp_path):
  """Two values of a static option, then another helper: told, kept and marked, or run again."""
  (tmp_path / "mine.py").write_text(MINE)
  (tmp_path / "helper.py").write_text("def factor(x):\n  return x\n")
  args = ["sweep", "--config=recall", *(f"--config.{key}={value}" for key, value in TINY.items())]
  args += [f"--config.model.attention.kind={tmp_path / 'mine.py'}:Mine", "--axis", "model.attention.scale=0.5,2.0"]
  args += ["--seeds=1", "--jobs=1", "--workdir=work", "--json"]

  def run(*more):
    done = assay(*args, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    return [point["loss"]["mean"] for point in document["points"]], document, done.stderr

  first, document, told = run()
  assert first[0] != first[1]
  assert document["trials"]["ran"] == 2
  assert "other code" not in told
  same, document, _ = run()
  assert (same, document["trials"]["ran"]) == (first, 0)
  (tmp_path / "helper.py").write_text("def factor(x):\n  return 4 * x\n")
  kept, document, told = run("--keep-stale")
  assert (kept, document["trials"]["ran"]) == (first, 0)
  assert [point["stale"] for point in document["points"]] == [1, 1]
  assert "2 trials were made by other code and kept, marked stale: helper.py changed" in told
  assert "1 stale" in (tmp_path / "work" / "report.html").read_text()
  fresh, document, told = run()
  assert document["trials"]["ran"] == 2
  assert "2 trials were made by other code and run again" in told
  assert fresh[0] == first[1]  # 4 x 0.5 and 2.0 are one factor
  assert fresh[1] not in first
  assert run()[0] == fresh
