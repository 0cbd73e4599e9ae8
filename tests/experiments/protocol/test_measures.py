"""What a run will measure is known beforehand, and what a study cannot answer is refused by name."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import override, slots
from experiments.protocol import catalog, measures, reproduce, scales
from experiments.protocol.claim import Study, Trial
from model import build
from model.errors import Refused
from tests.train.tiny import TINY, tiny
from train import loop, metrics


def test_the_measures_told_are_those_of_a_run():
  """The loop's, of a curve with a slice."""
  rows = [{"step": 2 * i, "loss": 1.0, "accuracy": 0.5, "accuracy/relation 1": 0.5} for i in range(5)]
  rows = [row | {"train_loss": 1.0, "grad_norm": 0.1, "grad_norm_max": 0.2} for row in rows]
  found, config = metrics.summary(rows, 4), tiny()
  assert sorted(scales.names(config)) == sorted(found)
  for name, value in found.items():
    assert scales.scale(config, name).low <= value <= scales.scale(config, name).high


def test_the_loop_tells_nothing_else():
  """The columns of the curve above are those that the loop writes."""
  sums = metrics.Sums(*(np.ones(1) for _ in range(3)), np.ones((1, 1)), np.ones((1, 1)))
  whole = SimpleNamespace(task=SimpleNamespace(slices=("relation 1",)))
  start, row = loop._training(loop._rows(whole, sums, 2), loop._rows(whole, sums, 0), np.ones((1, 2)), np.ones((1, 2)))[
    0
  ]
  assert set(start) == set(row) == {"step", *scales.names(tiny())} & {"step", *start}
  assert set(row) - {"step"} <= set(scales.names(tiny()))


@pytest.mark.parametrize("kind", [kind for kind in slots.kinds("tasks") if kind != "text"])  # asks for a file
def test_slices_and_what_is_judged_are_read_without_running_the_task(kind):
  for more in ({}, {"recall": {"task.relations": 3}, "listops": {"task.depth": 2}}.get(kind, {})):
    reading = {"model.kind": "seq2seq" if kind in ("copy", "g2p") else "gpt"}  # for tasks with a source, and for others
    config = override.resolve(override.load("recall", {"task.kind": kind, **reading, **more}))
    task = build.make("tasks", config["task"], package="train")
    assert scales.slices(config) == tuple(task.slices)
    assert bool(scales.judged(config)) == (type(task).judge is not type(task).__mro__[1].judge)


def test_the_judge_measures_what_the_task_says():
  config = override.resolve(override.load("g2p", {"task.judge_words": 3}))
  task = build.make("tasks", config["task"], package="train")
  found = task.judge(lambda source, positions, length: [[0] * length] * len(source), "validation")
  assert set(found) == set(scales.judged(config))
  assert {name: scales.scale(config, name).better for name in found} == {"wer": "min", "per": "min", "words": ""}


def probes():
  return [path.stem for path in scales.PROBES.glob("*.py") if path.stem not in ("__init__", "recording", "subject")]


@pytest.mark.parametrize("probe", probes())
def test_every_probe_says_what_it_reads(probe):
  assert scales.keys(probe)


@pytest.mark.parametrize(
  "claim", [c for c in catalog.all_claims() if isinstance(c.experiment, Trial)], ids=lambda c: c.id
)
def test_our_claims_can_be_answered(claim):
  measures.refuse_unknown(claim.experiment.study, reproduce.names(claim.experiment.test))


def plan(**more):
  arms = {"dot": {"model.attention.kind": "dot"}, "additive": {"model.attention.kind": "additive"}}
  settings = {"name": "s", "card": "recall", "arms": arms, "metric": "auc", "tiers": {"quick": TINY}}
  return Study(**{**settings, "grid": (1e-3, 1e-2), **more})


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("dto", "did you mean dot"),
    ("dot:acuracy", "did you mean accuracy"),
    ("dot:accuracy/relation 2", "did you mean accuracy/relation 1"),
    ("dot:wer", "there are loss"),
    ("dot:window", "window=(1e-3, 1e-2)"),
    ("dot:probe.entropy.entropy", "probes=('entropy',)"),
    ("dot:probe.entrpy.entropy", "did you mean entropy"),
    ("additive:probe.longer.loss_3x", "did you mean probe.longer.loss_"),
    ("additive:probe.pruning.drop_one/attic/0", "no measure"),
  ],
)
def test_a_sample_that_nobody_takes_is_refused_by_name(name, said):
  with pytest.raises(Refused) as refusal:
    measures.refuse_unknown(plan(probes=("longer", "pruning")), ["dot", name])
  assert repr(name) in str(refusal.value)
  assert said in str(refusal.value)
  measures.refuse_unknown(
    plan(probes=("longer", "pruning"), window=(1e-3,)),
    ["dot", "dot:accuracy/relation 1", "additive:window", "dot:probe.pruning.drop_one/encoder/0"],
  )


def test_decoding_that_is_off_is_told():
  arms = {"one": {"model.heads": 1}, "two": {"model.heads": 2}}
  g2p = plan(card="g2p", arms=arms, tiers={"quick": {"eval.judge": False}})
  with pytest.raises(Refused, match="needs decoding"):
    measures.refuse_unknown(g2p, ["one:wer"])
  measures.refuse_unknown(plan(card="g2p", arms=arms, tiers={"quick": {"eval.judge": True}}), ["one:wer"])


@pytest.mark.parametrize(
  ("more", "said"),
  [
    ({"metric": "acuracy"}, "did you mean accuracy"),
    ({"metric": "loss"}, "the min is better"),
    ({"better": "most"}, "max, min"),
    ({"tuning": ()}, "tuning=()"),
    ({"reporting": ()}, "reporting=()"),
    ({"reporting": (100, 101, 100)}, "twice"),
    ({"tuning": (0, 0, 1)}, "twice"),
    ({"reporting": (100, 2**31)}, "whole numbers from 0"),
    ({"reporting": (-1, 2)}, "whole numbers"),
    ({"reporting": (100, 2.5)}, "whole numbers"),
    ({"reporting": (100, True)}, "whole numbers"),
    ({"tuning": (0, 1), "reporting": (1, 2)}, "keep the lists apart"),
    ({"grid": ()}, "positive finite"),
    ({"grid": (1e-3, float("nan"))}, "positive finite"),
    ({"grid": (1e-3, 1e-3)}, "positive finite"),
    ({"window": (0.0,)}, "positive finite"),
    ({"arms": {"a": {"seed": 1}, "b": {"seed": 2}}}, "tuning= and reporting="),
    ({"arms": {"a": {"optim.lr": 0.1}, "b": {"optim.lr": 0.2}}}, "grid="),
    ({"arms": {"a": {"eval.judge": True}, "b": {}}}, "tiers="),
    ({"tiers": {"quick": TINY | {"eval.split": "test"}}}, "validation split"),
    ({"tiers": {"quick": TINY | {"probes": ("longer",)}}}, "probes="),
    ({"arms": {"a": {"model.depth": 1}, "b": {}}}, "the same run"),
    ({"arms": {"a:b": {"model.depth": 1}, "c": {"model.depth": 2}}}, "colon"),
  ],
)
def test_a_study_that_cannot_answer_is_refused(more, said):
  with pytest.raises(Refused) as refusal:
    measures.refuse_unknown(plan(**more), [])
  assert said in str(refusal.value)
  assert "\n" not in str(refusal.value)


def test_equally_written_arms_are_an_experiment_of_their_own():
  measures.refuse_unknown(plan(arms={"a": {"model.heads": 1}, "b": {"model.heads": 1}}), ["a", "b"])
  measures.refuse_unknown(plan(tuning=(), grid=(1e-2,)), ["dot"])  # a fixed rate needs no tuning


MINE = '''
from train.tasks.recall import Recall

class Mine(Recall):
  """Mine."""

  {judged}

  def judge(self, generate, split):
    return {{"bleu": 0.5}}
'''


@pytest.mark.parametrize(
  ("judged", "way"),
  [('judged = {"bleu": "max"}', "max"), ('judged = ("bleu",)', ""), ('judged = ["bleu"]', ""), ("", None)],
)
def test_a_task_of_ones_own_says_what_it_judges(judged, way, tmp_path):
  (tmp_path / "mine.py").write_text(MINE.format(judged=judged))
  config = override.resolve(override.load("recall", {"task.kind": f"{tmp_path}/mine.py:Mine"}))
  assert scales.slices(config) == ("relation 1",)  # its base's
  assert {name: scale.better for name, scale in scales.judged(config).items()} == ({} if way is None else {"bleu": way})


@pytest.mark.parametrize(
  "judged", ['judged = {"bleu": "high"}', "judged = 3", 'judged = {"loss": "min"}', 'judged = {"wer": "max"}']
)
def test_a_judge_that_says_nonsense_is_refused(judged, tmp_path):
  (tmp_path / "mine.py").write_text(MINE.format(judged=judged))
  config = override.resolve(override.load("recall", {"task.kind": f"{tmp_path}/mine.py:Mine"}))
  with pytest.raises(Refused, match=r"task\.kind"):
    scales.judged(config)


@pytest.mark.parametrize(
  "line",
  [
    "self.slices = sorted(names)",
    "self.slices, self.other = ('a',), 1",
    "self.slices += ('a',)",
    "for self.slices in (): pass",
  ],
)
def test_slices_that_cannot_be_read_are_not_taken_for_none(line, tmp_path):
  text = "from train.tasks.recall import Recall\nclass Mine(Recall):\n  def __init__(self, *, names: int = 1):\n"
  (tmp_path / "mine.py").write_text(f"{text}    {line}\n")
  assert slots.stated("tasks", f"{tmp_path}/mine.py:Mine", "slices", {"names": 1}) is None
