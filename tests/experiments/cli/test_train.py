"""`assay train` ends with the figures of the run, those of a task's judge among them."""

import argparse

import pytest

from experiments import api
from experiments.cli.commands import train
from experiments.run.store import Store
from tests.train.tiny import tiny

SPACE = argparse.Namespace(config="recall", workdir=None, profile="", keep_stale=False, writer=[])


@pytest.mark.parametrize("judged", [True, False])
def test_what_a_judge_measured_is_printed(tmp_path, monkeypatch, capsys, judged):
  config = tiny()
  Store(tmp_path).begin("k", config | {"eval": config["eval"] | {"judge": judged}}, [])
  measures = {"loss": 0.5, "accuracy": 0.75, "far": 0.25, "accuracy/all": 0.75, "initial_loss": 2.0}
  found = {"workdir": str(tmp_path), "trial": "k", "status": "done", "steps": 8, "cause": None, "measures": measures}
  monkeypatch.setattr(api, "train", lambda *given, **options: api.Trained(found))
  document, code = train.run(SPACE, [])
  assert (document["measures"], code) == (measures, 0)
  shown = "loss 0.5  accuracy 0.75" + ("  far 0.25" if judged else "")
  assert capsys.readouterr().err == f"done after 8 steps: {shown}\n{tmp_path}\n"


def test_a_failed_training_says_why_and_shows_no_figures(tmp_path, monkeypatch, capsys):
  found = {"workdir": str(tmp_path), "trial": "k", "status": "failed", "steps": 0, "cause": "it broke", "measures": {}}
  monkeypatch.setattr(api, "train", lambda *given, **options: api.Trained(found, complete=False))
  assert train.run(SPACE, [])[1] == 3
  assert capsys.readouterr().err == f"failed (it broke) after 0 steps\n{tmp_path}\n"
