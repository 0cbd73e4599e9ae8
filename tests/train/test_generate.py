"""A judge is rehearsed before training: what it would ask for in vain is refused, and nothing else."""

import numpy as np
import pytest

from configs import Refused as ConfigRefused
from configs import override
from experiments.run.cohorts import Pack
from experiments.worker import pack
from model import build
from model.errors import Refused
from model.mask import rows
from model.vocabulary import Vocabulary
from tests.train.corpora.present import HAS_CMUDICT
from train.generate import generator, rehearse
from train.step import Ensemble
from train.tasks.task import Task


class Echo(Task):
  """Asks for `length` symbols after a source of `letters`."""

  vocabulary = Vocabulary((6,), 5, source=(4,))
  floor, ceiling, start, stop = 0.2, 1.0, 5, 4

  def __init__(self, letters: int, length: int):
    self.letters, self.length, self.answers = letters, length, []

  def judge(self, generate, split):
    self.answers.append(generate(np.ones((2, self.letters, 1), np.int32), rows(self.letters), self.length))
    raise ZeroDivisionError("no words in what was said")


def whole(task, **model):
  dotted = {f"model.{name}": value for name, value in model.items()}
  config = override.resolve(override.load("g2p", {"model.width": 8, "model.heads": 1, "model.depth": 1, **dotted}))
  return config, Ensemble(config, task)


TABLE = {"position.kind": "learned", "position.length": 8}


@pytest.mark.parametrize(("letters", "length"), [(9, 2), (2, 9)])
def test_what_no_table_holds_is_refused_before_training(letters, length):
  task = Echo(letters, length)
  with pytest.raises(Refused, match=r"up to position 8: .*position\.length"):
    rehearse(whole(task, **TABLE)[1], "test")
  assert not task.answers


def test_a_worker_rehearses_before_it_trains():
  """It has no data, no compiled program and no place to write: it needs none to refuse."""
  task = Echo(2, 9)
  config, cohort = whole(task, **TABLE)
  assert config["eval"]["judge"]
  with pytest.raises(Refused, match=r"position\.length"):
    pack.run(None, Pack("", ("",), (config,)), pack.Cohort(task, cohort, None, {}, {}), stamp=dict)  # pyright: ignore


def test_a_model_that_cannot_decode_is_refused_before_training():
  task = Echo(2, 2)
  task.vocabulary = Vocabulary((6,), 5)
  with pytest.raises(ConfigRefused, match="kind=bert does not fit"):
    whole(task, kind="bert")


def test_a_rehearsal_computes_nothing_and_takes_no_offence():
  """Eight symbols fit; the answers are all stops, and a judge that cannot count those is not the user's mistake."""
  task = Echo(8, 8)
  rehearse(whole(task, **TABLE)[1], "test")
  (answer,) = task.answers
  np.testing.assert_array_equal(answer, np.full((2, 8), task.stop))


def test_the_generator_itself_looks_at_positions():
  """Its compiled program cannot see them."""
  task = Echo(4, 4)
  config, cohort = whole(task, **TABLE)
  generate = generator(cohort, cohort.init([config]), cohort.members([config]), 0)
  with pytest.raises(Refused, match="the source, up to position 9"):
    generate(np.ones((2, 4, 1), np.int32), rows(4, 6), 4)


@pytest.mark.skipif(not HAS_CMUDICT, reason="needs make data")
def test_the_dictionary_asks_for_32_symbols():
  task = build.make("tasks", {"kind": "g2p", "judge_words": 400}, package="train")
  rehearse(whole(task, **TABLE | {"position.length": 32})[1], "test")
  with pytest.raises(Refused, match="decoding 32 symbols"):
    rehearse(whole(task, **TABLE | {"position.length": 31})[1], "test")
