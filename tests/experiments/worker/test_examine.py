"""What a worker refuses of a task before it trains: a judge that takes or returns what no judge does."""

from collections.abc import Mapping

import numpy as np
import pytest

from experiments.run.cohorts import Pack
from experiments.worker import examine, pack
from model.errors import Refused
from model.mask import rows
from tests.train.test_generate import TABLE, Echo, whole

CONFIG = {"task": {"kind": "./mine.py:Mine"}}


class Judge(Echo):
  """Answers about one word, under a name that its class states."""

  judged: Mapping[str, str] = {"exact": "max"}

  def judge(self, generate, split):
    return {"exact": float(generate(np.ones((1, 2, 1), np.int32), rows(2), 2).mean())}


class Misspelt(Judge):
  """States `exact` and returns `exct`."""

  def judge(self, generate, split):
    return {"exct": 1.0}


class Ignorant(Judge):
  """Takes what no judge is given."""

  def judge(self, predicted, targets, weights):
    return {"exact": 1.0}


class Unstated(Judge):
  """States no names: then any will do."""

  judged: Mapping[str, str] = {}


@pytest.mark.parametrize("task", [Judge, Unstated, Echo])
def test_a_judge_that_fits_or_cannot_judge_empty_answers_is_let_alone(task):
  examine.judge(task(2, 2), CONFIG, "test")


@pytest.mark.parametrize(
  ("task", "said"),
  [
    (Misspelt, r"mine.py:Mine: its judge returns 'exct': did you mean exact\? judged states exact; use"),
    (Ignorant, r"mine.py:Mine: its judge does not fit \(missing .*\); write judge\(self, generate, split\)"),
  ],
)
def test_a_judge_that_does_not_fit_is_refused_in_one_line(task, said):
  with pytest.raises(Refused, match=said) as refusal:
    examine.judge(task(2, 2), CONFIG, "test")
  assert "\n" not in str(refusal.value)


def test_a_worker_examines_the_judge_before_it_trains():
  """It has no data, no compiled program and no place to write: it needs none to refuse."""
  task = Misspelt(2, 2)
  config, cohort = whole(task, **TABLE)
  with pytest.raises(Refused, match="judged states exact"):
    pack.run(None, Pack("", ("",), (config,)), pack.Cohort(task, cohort, None, {}, {}), stamp=dict)  # pyright: ignore
