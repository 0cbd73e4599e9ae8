"""The door for Python: the verbs do what the commands do, and a trained model answers for itself."""

import io
import json
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import override
from experiments import api
from experiments.api import flat
from experiments.cli import cli
from experiments.probes import recording
from experiments.record import atomic
from experiments.run.signals import Interrupted
from experiments.worker import pack, trained
from model.errors import Refused
from model.language import Inputs
from model.mask import Positions, rows
from tests.experiments.process import ROOT
from tests.train.tiny import TINY, tiny
from train.generate import generator


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder for results; workers find the packages from any folder."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path_factory.mktemp("api")
    patch.chdir(folder)
    yield folder


@pytest.fixture(scope="module")
def alone(place):
  """One model, trained off the main thread; and the signal handlers that were seen meanwhile."""
  numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
  before = [signal.getsignal(number) for number in numbers]
  found, seen = [], []
  thread = threading.Thread(
    target=lambda: found.append(api.train("recall", TINY | {"model.heads": 2}, workdir=place / "train"))
  )
  thread.start()
  while thread.is_alive():
    seen.append([signal.getsignal(number) for number in numbers])
    thread.join(0.05)
  (result,) = found
  return result, before, seen


@pytest.fixture(scope="module")
def model(alone):
  return api.load(alone[0].workdir)


@pytest.fixture(scope="module")
def swept(place):
  return api.sweep("recall", TINY, axes={"optim.lr": np.asarray([1e-3, 1e-2])}, seeds=1, jobs=1, keep=True)


def fresh(settings):
  """A model at step 0 behind the same door, without a run; and what a judge would generate with."""
  small = {"model.width": 8, "train.batch": 8, "eval.batch": 8}
  config = override.resolve(override.load("recall", small | settings))
  cohort = pack.prepare(config)
  state, member = cohort.whole.init([config]), cohort.whole.members([config])
  one = trained.Restored(cohort.whole.model(state, member, 0), cohort.task, config, 0, (), state.key[0])
  return api.Model(ROOT, "0" * 16, one), generator(cohort.whole, state, member, 0)


def test_it_is_imported_without_jax_or_numpy():
  code = (
    "import sys\nfrom experiments import api\n"
    "assert not {'jax', 'flax', 'numpy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
    "assert all(callable(getattr(api, verb)) for verb in 'train sweep compare reproduce runs load'.split())"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr


def test_off_the_main_thread_no_handler_is_installed(alone):
  _, before, seen = alone
  assert len(seen) > 3
  assert all(handlers == before for handlers in seen)


def test_train_gives_what_the_command_prints(alone, place, capsys, monkeypatch):
  """The command finds the same trial stored, and its document is the result's, byte for byte."""
  result, _, _ = alone
  flags = [f"--config.{key}={value}" for key, value in (TINY | {"model.heads": 2}).items()]
  assert cli.main(["train", "--config=recall", *flags, f"--workdir={place / 'train'}", "--json"]) == 0
  assert capsys.readouterr().out == atomic.canonical(result.document) + "\n"
  assert result.complete
  assert result.document["measures"]["t90"] == "inf"
  assert result.measures["t90"] == float("inf")


def test_a_trained_result_has_its_curve(alone):
  result, _, _ = alone
  frame = result.frame()
  assert list(frame["step"]) == [0, 2, 4, 6, 8]
  assert frame["accuracy"].iloc[-1] == result.measures["accuracy"]
  (line,) = [line for line in result.plot().axes[0].lines if len(line.get_xdata()) == 5]
  np.testing.assert_allclose(line.get_ydata(), frame["accuracy"])
  page = result._repr_html_()
  assert page.startswith("<iframe srcdoc=")
  assert "http" not in page.replace("http-equiv", "")
  (study,) = result.report.studies
  assert list(study.arms[0].values) == [result.measures["accuracy"]]
  assert study.arms[0].chosen_lr == 0.01
  assert "One model, trained with seed" in page
  assert "Bands" not in page  # of a single curve there are none


def test_predictions_have_the_accuracy_that_the_run_reports(model, alone):
  config, task = model.config, model.task
  stream = jax.random.fold_in(model.restored.key, {"validation": 2, "test": 3}[config["eval"]["split"]])
  batch = task.sample(jax.random.fold_in(stream, 0), config["eval"]["batch"])
  right_BTR = (model.predict(batch.inputs).argmax(-1) == batch.targets_BTR) * batch.weights_BTR
  np.testing.assert_allclose(right_BTR.sum() / batch.weights_BTR.sum(), alone[0].measures["accuracy"], rtol=1e-6)


def test_attention_is_what_the_model_computes(model):
  batch = model.examples(3, seed=1)
  attention = model.attention(batch.inputs)
  _, layers = recording.record(model.module, batch.inputs)
  assert list(attention) == ["encoder/0"]
  np.testing.assert_allclose(attention["encoder/0"], layers["encoder/0"].weights_BHTS, atol=1e-6)
  np.testing.assert_array_equal(attention.tokens, batch.inputs.tokens_BTC)
  frame = attention.frame()
  assert len(frame) == attention["encoder/0"].size
  sums = frame.groupby(["place", "row", "head", "query"])["weight"].sum()
  np.testing.assert_allclose(sums, 1.0, atol=1e-5)
  figure = attention.plot(row=2)
  (first, second) = figure.axes
  np.testing.assert_allclose(first.images[0].get_array(), attention["encoder/0"][2, 0])
  np.testing.assert_allclose(second.images[0].get_array(), attention["encoder/0"][2, 1])
  assert first.get_xticklabels()[0].get_text() == ".".join(map(str, attention.tokens[2, 0]))
  assert attention._repr_html_().startswith("<img")
  with pytest.raises(Refused, match="there are encoder/0"):
    attention["encoder/7"]


def test_rows_of_symbols_may_differ_in_length(model):
  long, short = np.asarray(model.examples(2).inputs.tokens_BTC)
  together = model.predict([long, short[:3]])
  np.testing.assert_allclose(together[1, :3], model.predict([short[:3].tolist()])[0], atol=1e-5)
  weights = model.attention([long, short[:3]])["encoder/0"]
  assert (weights[1, :, :3, 3:] == 0).all()
  np.testing.assert_allclose(model.predict(Inputs(jnp.asarray(long[None]), rows(len(long))))[0], together[0], atol=1e-5)


def test_params_are_the_models_by_path(model):
  state = nnx.state(model.module, nnx.Param)
  assert sum(array.size for array in model.params.values()) == sum(leaf.size for leaf in jax.tree.leaves(state))
  assert "encoder/layers/0/attention/query" in model.params
  np.testing.assert_array_equal(model.params["readout/bias"], model.module.readout.bias[...])


@pytest.mark.parametrize(
  ("ask", "said"),
  [
    (lambda m: m.generate(m.examples(1).inputs, 3), "Bert cannot decode step by step; use kind=gpt"),
    (lambda m: m.predict([[1, 2]]), "each token 3 fields"),
    (lambda m: m.predict([[(1, 2, 99)]]), "field 2 holds symbol 99; allowed are 0 to"),
    (lambda m: m.predict([[(1, 2, 3)]], source=[[1]]), "reads no source"),
    (lambda m: m.predict([]), "hold no row"),
    (lambda m: m.predict(3), "not rows of symbols"),
    (lambda m: m.examples(0), "size=0; allowed: a whole number from 1"),
    (lambda m: m.examples(split="tests"), "allowed: train, validation, test"),
    (lambda m: m.generate([[1]], 3, temperature=-1), "temperature=-1; allowed: 0"),
  ],
)
def test_what_a_model_cannot_do_is_one_line(model, ask, said):
  with pytest.raises(Refused, match=said) as fault:
    ask(model)
  assert "\n" not in str(fault.value)


def test_a_gpt_generates_greedily_and_by_lot():
  gpt, _ = fresh({"task.kind": "duplicate", "model.kind": "gpt", "model.position.kind": "rope"})
  prompt = [[1, 2, 3], [4]]
  greedy = gpt.generate(prompt, 5)
  held = [1, 2, 3]
  for _ in range(5):
    held.append(int(gpt.predict([held])[0, -1, 0].argmax()))
  assert greedy.shape == (2, 5)
  assert greedy[0].tolist() == held[3:]
  drawn = [gpt.generate(prompt, 12, temperature=2.0, seed=seed) for seed in (0, 0, 1)]
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert (drawn[0] != drawn[2]).any()
  stop = int(drawn[0][0, 2])
  stopped = gpt.generate(prompt, 12, temperature=2.0, seed=0, stop=stop)[0]
  first = drawn[0][0].tolist().index(stop)
  assert stopped.tolist() == [*drawn[0][0, :first].tolist(), *[stop] * (12 - first)]
  with pytest.raises(Refused, match="can never be predicted"):
    gpt.generate(prompt, 2, stop=99)


def test_an_encoder_decoder_answers_a_source_as_its_judge_would_hear_it():
  seq2seq, judged = fresh({"task.kind": "copy", "model.kind": "seq2seq", "task.length": 4, "task.symbols": 5})
  seq2seq.task.stop = 2
  source = [[0, 1, 2, 3], [3, 3, 1, 0]]
  given = np.asarray(source)[..., None], Positions(*(np.asarray(a) for a in rows(4)))
  np.testing.assert_array_equal(seq2seq.generate(source, 6), judged(*given, 6))
  assert (seq2seq.generate(source, 40, temperature=5.0, stop=None)[:, -1] < 5).all()
  attention = seq2seq.attention([[5, 0, 1, 2], [5, 3]], source=source)
  assert list(attention) == ["encoder/0", "decoder/0/self", "decoder/0/cross"]
  assert attention["decoder/0/cross"].shape == (2, 4, 4, 4)
  labels = {(row["place"], row["row"], row["key"]): row["key_token"] for row in attention.rows}
  assert [labels["decoder/0/cross", 1, key] for key in range(4)] == ["3", "3", "1", "0"]
  assert [labels.get(("decoder/0/self", 1, key)) for key in range(4)] == ["5", "3", None, None]
  with pytest.raises(Refused, match=r"reads a source too; give source="):
    seq2seq.predict([[5, 0]])


def test_a_model_without_weights_says_so(model, monkeypatch):
  rnn, _ = fresh({"task.kind": "duplicate", "model.kind": "rnn"})
  with pytest.raises(Refused, match=r"model\.kind=rnn has no attention to show"):
    rnn.attention([[1, 2]])
  layer = recording._layer
  monkeypatch.setattr(recording, "_layer", lambda entry: layer(entry | {"weights_BKGTS": None}))
  with pytest.raises(
    Refused, match=r"encoder/0 has no attention weights to look at; use a mechanism that has, such as"
  ):
    model.attention(model.examples(5).inputs)  # a shape that nothing was compiled for


def test_a_sweep_keeps_its_models_and_its_document_is_the_commands(swept, place, capsys):
  axis = "optim.lr=0.001,0.01"
  flags = [f"--config.{key}={value}" for key, value in TINY.items()]
  assert cli.main(["sweep", "--config=recall", *flags, "--axis", axis, "--seeds=1", "--jobs=1", "--json"]) == 0
  document = json.loads(capsys.readouterr().out)
  assert document["points"] == swept.document["points"]
  assert document["trials"] == swept.document["trials"] | {"ran": 0, "stored": 2}
  frame = swept.frame()
  assert list(frame["point"]) == ["lr=0.001", "lr=0.01"]
  assert list(frame["accuracy"]) == [point["accuracy"]["mean"] for point in swept.found["points"]]
  assert len(swept.plot().axes) == 2
  page = swept._repr_html_()
  assert "Sweep of recall" in page
  assert all(f"href=&quot;#{name}&quot;" in page for name in ("costs", "studies", "outcomes", "methods"))
  listed = api.runs(swept.workdir, where="optim.lr>0.005").rows
  model = api.load(swept.workdir, listed[0]["trial"])
  assert model.config["optim"]["lr"] == 0.01
  assert model.step == 8
  same = api.load(swept.workdir / "trials" / listed[0]["trial"])
  np.testing.assert_array_equal(same.params["readout/kernel"], model.params["readout/kernel"])
  with pytest.raises(Refused, match=r"holds 2 trials; name one with trial="):
    api.load(swept.workdir)


def test_a_dry_run_says_what_a_sweep_would_do(place):
  planned = api.sweep("recall", TINY, axes={"model.heads": [1, 2]}, seeds=2, dry_run=True, workdir="not-made")
  assert list(planned.frame()["point"]) == ["heads=1", "heads=2"]
  assert not (place / "not-made").exists()
  with pytest.raises(Refused, match="nothing to plot"):
    planned.plot()


def test_compare_tells_arms_apart(place):
  arms = [{"model.attention.scale": 0.5}, "model.attention.scale=1.0"]
  found = api.compare("recall", arms, TINY, seeds=2, lrs=[np.float64(1e-2)], jobs=1)
  assert found.complete
  assert list(found.frame()["name"]) == ["scale=0.5", "scale=1.0"]
  (difference,) = found.differences
  first, second = found.frame()["mean"]
  np.testing.assert_allclose(difference["effect"], second - first, atol=1e-12)
  assert difference["low"] <= difference["effect"] <= difference["high"]
  assert found.frame("differences")["name"][0] == "scale=1.0 - scale=0.5"
  assert found.document["comparisons"][0]["ci"] == list(found.found["comparisons"][0]["ci"])
  assert found.plot().axes
  assert "experiments.api.compare" in (found.workdir / "report.html").read_text()


def test_reproduce_gives_rows_with_verdicts(place):
  found = api.reproduce("MECH-1", tier="exact")
  assert found.complete
  (row,) = found.rows
  assert (row["id"], row["verdict"]) == ("MECH-1", found.document["claims"][0]["verdict"])
  assert row["effect"] == found.found["claims"][0]["tests"][0]["effect"]
  assert "MECH-1" in found._repr_html_()
  with pytest.raises(Refused, match="nothing to plot"):
    found.plot()


@pytest.mark.parametrize(
  ("ask", "said"),
  [
    (lambda: api.train("recal"), "did you mean recall"),
    (lambda: api.train("recall", {"model.haeds": 2}), "did you mean model.heads"),
    (lambda: api.train("recall", ["model.heads"]), "not key=value"),
    (lambda: api.train("recall", {"model.heads": 3}), "does not divide"),
    (lambda: api.train("recall", workdir=""), "not a folder's name"),
    (lambda: api.sweep("recall", axes={"model.heads": 2}), "a list of values"),
    (lambda: api.sweep("recall", axes={"model.heads": [2, 2]}), "a value twice"),
    (lambda: api.sweep("recall", axes={"seed": [1, 2]}), "seeds"),
    (lambda: api.sweep("recall", axes="model.heads=1"), "allowed: a list"),
    (lambda: api.sweep("recall", seeds=0), "seeds=0; allowed: a whole number from 1"),
    (lambda: api.sweep("recall", seeds=1.5), "seeds=1.5; allowed: a whole number"),
    (lambda: api.sweep("recall", jobs=-1), "jobs=-1; allowed: a whole number from 0"),
    (lambda: api.compare("recall", [{"attention": "dot"}]), "needs two arms"),
    (lambda: api.compare("recall", [{"attention": "dot"}, {}]), "an arm sets nothing"),
    (lambda: api.compare("recall", [{"attention": "dot"}, {"attention": "addtive"}]), "did you mean additive"),
    (lambda: api.compare("recall", [{"model.heads": 4}, {"attention": "dot"}]), "the same run"),
    (lambda: api.compare("recall", [{"attention": "dot"}, {"seed": 1}]), "would be overwritten"),
    (lambda: api.compare("recall", ["attention=dot", "attention=additive"], metric="acuracy"), "did you mean accuracy"),
    (lambda: api.compare("recall", ["attention=dot", "attention=additive"], better="up"), "allowed: max, min"),
    (lambda: api.compare("recall", ["attention=dot", "attention=additive"], delta=-1), "delta=-1"),
    (lambda: api.reproduce("HEAD-99"), "HEAD-99"),
    (lambda: api.reproduce("HEAD-1", tier="quik"), "allowed: exact, quick"),
    (lambda: api.runs("nowhere"), "is no workdir and holds none"),
    (lambda: api.load("nowhere"), "nowhere is no workdir"),
  ],
)
def test_mistakes_are_refused_in_one_line_and_write_nothing(ask, said, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(Refused, match=said) as fault:
    ask()
  assert "\n" not in str(fault.value)
  assert not list(tmp_path.iterdir())


def test_a_workdir_without_a_model_says_so(alone, place, monkeypatch):
  """Other code, no checkpoint, no result: each is one line, and the files stay as they are."""
  root = alone[0].workdir
  monkeypatch.setattr(trained.stamp, "changed", lambda config, result: ["model/heads.py"])
  with pytest.raises(Refused, match=r"trained by other code or data: model/heads.py changed since; .*keep_stale=True"):
    api.load(root)
  assert "model/heads.py changed" in repr(api.load(root, keep_stale=True))
  monkeypatch.undo()
  cohorts = root / "cohorts"
  cohorts.rename(root / "away")
  try:
    with pytest.raises(Refused, match="keeps no checkpoint of trial"):
      api.load(root)
  finally:
    (root / "away").rename(cohorts)
  (result,) = root.glob("trials/*/result.json")
  result.rename(root / "away.json")
  try:
    with pytest.raises(Refused, match="has no result; run the command"):
      api.load(root)
  finally:
    (root / "away.json").rename(result)


def test_a_frame_without_pandas_says_what_to_do(alone, monkeypatch):
  monkeypatch.setitem(sys.modules, "pandas", None)
  with pytest.raises(Refused, match="pip install pandas"):
    alone[0].frame()
  assert alone[0].rows


def test_an_interrupt_is_pythons_own_and_other_signals_pass():
  def stopped(number):
    raise Interrupted(number)

  with pytest.raises(KeyboardInterrupt, match="SIGINT"):
    api.verb(stopped)(signal.SIGINT)
  with pytest.raises(Interrupted) as fault:
    api.verb(stopped)(signal.SIGTERM)
  assert fault.value.code == 143


def test_nested_items_become_one_line():
  item = {"point": "a", "loss": {"mean": 1.0, "ci": [0.5, 2.0], "n": 3}, "config": {"optim.lr": 0.1}, "ci": [1, 2]}
  assert flat(item) == {
    "point": "a",
    "loss": 1.0,
    "loss low": 0.5,
    "loss high": 2.0,
    "loss n": 3,
    "optim.lr": 0.1,
    "low": 1,
    "high": 2,
  }


def test_configs_are_given_as_on_the_command_line():
  """A mapping, texts, and numpy's numbers name the same trial."""
  config = tiny(model__heads=2)
  for given in (
    TINY | {"model.heads": np.int64(2)},
    [f"{k}={v}" for k, v in TINY.items()] + ["--config.model.heads=2"],
  ):
    assert override.resolve(override.load("recall", api._settings(given))) == config


def test_runs_takes_folders_one_by_one():
  with pytest.raises(Refused, match="one by one"):
    api.runs(["assay-results/sweep-recall"])


@pytest.fixture(scope="module")
def writer(place):
  """A model on a text of one's own, and what a judge would generate with."""
  (place / "mine.txt").write_text("ein Mops kam in die Küche\n" * 40)
  task = {"task.kind": "text", "task.path": str(place / "mine.txt"), "task.length": 8}
  return fresh(task | {"model.kind": "gpt", "model.depth": 1})[0]


def test_a_text_is_gone_on_with_by_a_text(writer):
  symbols = writer.generate([writer.task.encode("ein M")], 12)
  assert writer.generate("ein M", 12) == writer.task.decode(symbols[0])
  several = writer.generate(["ein M", "die K"], 12)
  assert several == [writer.generate(prompt, 12) for prompt in ("ein M", "die K")]
  drawn = [writer.generate("ein M", 12, temperature=2.0, seed=seed) for seed in (0, 0, 1)]
  assert drawn[0] == drawn[1] != drawn[2]
  np.testing.assert_array_equal(writer.predict("Küche"), writer.predict([writer.task.encode("Küche")]))


def test_attention_over_a_text_bears_its_letters(writer):
  attention = writer.attention("in die\n")
  labels = [row["key_token"] for row in attention.rows if row["query"] == 0 and row["head"] == 0]
  assert labels == ["i", "n", "␣", "d", "i", "e", "⏎"]


@pytest.mark.parametrize(
  ("given", "said"),
  [("ein Zebra", "'Z', 'b', 'r' stands nowhere"), ("", "a text is empty"), (["in", ""], "a text is empty")],
)
def test_a_text_that_cannot_be_spelled_is_refused(writer, given, said):
  with pytest.raises(Refused, match=said):
    writer.generate(given, 3)


def test_a_task_without_text_says_so(model):
  with pytest.raises(Refused, match=r"Recall has symbols and no text: 'the cat'; give rows such as \[\[1, 2, 3\]\]"):
    model.predict("the cat")


@pytest.mark.parametrize("piped", [False, True])
def test_the_command_goes_on_with_a_prompt(writer, monkeypatch, capsys, piped):
  monkeypatch.setattr(api, "load", lambda workdir, keep_stale=False: writer)
  monkeypatch.setattr("sys.stdin", io.StringIO("ein M\n"))
  call = ["generate", "work", *([] if piped else ["ein M"]), "--length=12", "--temperature=1.5", "--seed=3"]
  expected = writer.generate("ein M", 12, temperature=1.5, seed=3)
  assert cli.main(call) == 0
  assert capsys.readouterr().out == f"{expected}\n"
  monkeypatch.setattr("sys.stdin", io.StringIO("ein M\n"))
  assert cli.main([*call, "--json"]) == 0
  document = json.loads(capsys.readouterr().out)
  assert (document["prompt"], document["generated"], document["length"]) == ("ein M", expected, 12)


def test_the_command_takes_symbols_where_a_task_has_no_text(monkeypatch, capsys):
  duplicate, _ = fresh({"task.kind": "duplicate", "task.length": 4, "model.kind": "gpt"})
  monkeypatch.setattr(api, "load", lambda workdir, keep_stale=False: duplicate)
  assert cli.main(["generate", "work", "0 3 1, 2", "--length=5"]) == 0
  expected = " ".join(map(str, duplicate.generate([[0, 3, 1, 2]], 5)[0].tolist()))
  assert capsys.readouterr().out == f"{expected}\n"
  assert cli.main(["generate", "work", "the cat"]) == 2
  assert "prompt 'the cat' is no list of symbols; this task has no text" in capsys.readouterr().err
  monkeypatch.setattr("sys.stdin", None)
  assert cli.main(["generate", "work"]) == 2
  assert "there is no prompt; give a prompt behind the workdir, or by a pipe" in capsys.readouterr().err
