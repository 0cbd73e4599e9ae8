"""A refusal names what its caller gave: flags on the command line, keyword arguments in Python."""

import ast
import re

import pytest

from experiments import api
from experiments.cli import cli
from experiments.run import keywords
from model.errors import Refused

DOT = ["attention=dot", "attention=additive"]
ASKED = (  # what is asked from Python, how it is refused, the same on the command line
  (lambda: api.train("recal"), "card 'recal' is no card", ["train", "--config=recal"]),
  (lambda: api.train("recall", workdir=""), "workdir='' is not a folder's", ["train", "--config=recall", "--workdir="]),
  (
    lambda: api.sweep("recall", {"seed": 1}, axes={"model.heads": [1, 2]}),
    "seed=1 would be overwritten: a sweep runs seeds 1000, 1001, ... of every point; seeds=N says how many",
    ["sweep", "--config=recall", "--config.seed=1", "--axis", "model.heads=1,2"],
  ),
  (
    lambda: api.compare("recall", DOT, seeds=1),
    "seeds=1 tells nothing",
    ["compare", *DOT, "--config=recall", "--seeds=1"],
  ),
  (
    lambda: api.compare("recall", DOT, lrs="1e-3,fast"),
    "lrs='1e-3,fast' is not a list of numbers",
    ["compare", *DOT, "--config=recall", "--lrs=1e-3,fast"],
  ),
  (
    lambda: api.compare("recall", DOT, {"optim.lr": 0.1}),
    "optim.lr=0.1 would be overwritten by the protocol; lrs=[1e-3, 1e-2] are the rates tuned over, lrs=1e-2 alone",
    ["compare", *DOT, "--config=recall", "--config.optim.lr=0.1"],
  ),
  (
    lambda: api.compare("recall", DOT, better="min"),
    "better='min', but of auc the max is better; leave better out",
    ["compare", *DOT, "--config=recall", "--better=min"],
  ),
  (lambda: api.runs(where="status"), "where='status': the end at", ["runs", "--where=status"]),
)


@pytest.mark.parametrize(("ask", "said", "command"), ASKED, ids=[said[:20] for _, said, _ in ASKED])
def test_python_is_told_of_keywords_and_the_command_line_of_flags(ask, said, command, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(Refused) as fault:
    ask()
  assert said in str(fault.value)
  assert "--" not in str(fault.value)
  assert cli.main(command) == 2
  told = capsys.readouterr().err.strip()
  assert len(told.splitlines()) == 1
  assert keywords.spoken(told).removeprefix("assay: ") == str(fault.value)
  assert "--" in told
  with pytest.raises(Refused, match=re.escape(said)):  # a command leaves nothing behind
    ask()


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("choose another --workdir=", "choose another workdir="),
    ("--config=mine.py:12: NameError: x", "card 'mine.py:12': NameError: x"),
    ("did you mean --metric=accuracy?", "did you mean metric='accuracy'?"),
    ("--lrs=0.1,0.2 twice; --seeds=N", "lrs=[0.1, 0.2] twice; seeds=N"),
    ("kept with --keep_stale, or --axis", "kept with keep_stale=True, or axes"),
    ("run `assay check x --repair` or --keep", "run `assay check x --repair` or keep=True"),
    ("loss - 1 -- no flag", "loss - 1 -- no flag"),
  ],
)
def test_what_is_for_a_shell_stays_and_the_rest_is_python(text, told):
  assert keywords.spoken(text) == told


def test_values_are_what_python_reads():
  for value in ("1e-3,1e-2", "3", "max", "'a b'", "1e-2"):
    _, _, spelled = keywords.spoken(f"--lrs={value}").partition("=")
    assert ast.literal_eval(spelled) in ([1e-3, 1e-2], 3, "max", "a b", 1e-2)
