"""Tasks whose answers are their next inputs are known, by their data, and refused on models that see both ways."""

import jax
import pytest

from configs import effect, override, slots, values
from configs.check import Refused
from model import build
from model.schema import flatten

PLAIN = [(kind, {}) for kind in slots.kinds("tasks") if kind not in ("copy", "g2p", "text")]
OPTED = [("markov", {"sequences": 4}), ("motif", {"absolute": True}), ("season", {"absolute": True})]
FOLLOW = {"duplicate", "markov", "motif", "prose", "season"}
MINE = "from train.tasks.previous import Previous\n\nclass Mine(Previous):\n  asks_for_next = True\n"


def follows(task):
  """Whether every answer that counts, where a token comes after it, is one field of that token."""
  batch = jax.device_get(task.sample(jax.random.key(0), 8, task.data("train")))
  tokens_BTC, answers_BT = batch.inputs.tokens_BTC[:, 1:], batch.targets_BTR[:, :-1, 0]
  counts_BT = batch.weights_BTR[:, :-1, 0] > 0
  return counts_BT.any() and (tokens_BTC == answers_BT[..., None])[counts_BT].all(0).any()


def flat_of(kind, options):
  """What `effect` reads of a task."""
  defaults = {name: option["default"] for name, option in slots.options("tasks", kind).items()}
  return {"task.kind": kind, **{f"task.{name}": value for name, value in (defaults | options).items()}}


@pytest.mark.parametrize(("kind", "options"), PLAIN + OPTED, ids=str)
def test_what_is_said_of_a_task_is_what_its_batches_show(kind, options):
  task = build.make("tasks", {"kind": kind, **options}, package="train")
  expected = kind in FOLLOW and not options.get("absolute", False)
  assert effect.asks_for_next(flat_of(kind, options)) == task.asks_for_next == follows(task) == expected


def test_text_asks_for_the_next_symbol(tmp_path):
  (tmp_path / "mine.txt").write_text("".join(f"line {number} of a text\n" for number in range(400)))
  task = build.make("tasks", {"kind": "text", "path": str(tmp_path / "mine.txt")}, package="train")
  assert effect.asks_for_next({"task.kind": "text"}) == task.asks_for_next
  assert follows(task)


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    (["task.kind=markov"], "model.kind=bert sees both ways.*task.kind=markov.*set model.kind=gpt"),
    (
      ["task.kind=season", "model.kind=rnn", "model.direction=both"],
      "=both sees.*set model.direction=forward",
    ),
    (["task.kind=motif", "model.kind=rnn", "model.direction=apart", "model.depth=2"], "model.direction=apart sees"),
  ],
)
def test_a_model_that_sees_the_answer_is_refused(overrides, said):
  with pytest.raises(Refused, match=said) as refused:
    override.load("recall", overrides)
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
  "overrides",
  [
    ["task.kind=markov", "model.kind=gpt"],
    ["task.kind=markov", "model.kind=rnn"],
    ["task.kind=season", "task.absolute=true"],  # the answers are another season, heard by nobody
    ["task.kind=previous", "task.back=-1"],  # to look ahead is what this asks for
  ],
  ids=str,
)
def test_a_model_that_does_not_see_it_may_be_asked(overrides):
  flat = flatten(override.resolve(override.load("recall", overrides)))
  given = {
    key: values.parse(value, type(flat[key]).__name__) for key, _, value in (o.partition("=") for o in overrides)
  }
  assert given.items() <= flat.items()
  assert not (effect.looks_ahead(flat) and effect.asks_for_next(flat))


def test_a_task_of_ones_own_may_say_so(tmp_path):
  (tmp_path / "mine.py").write_text(MINE)
  kind = f"task.kind={tmp_path}/mine.py:Mine"
  override.load("recall", [kind, "model.kind=gpt"])
  with pytest.raises(Refused, match="asks for the next symbol"):
    override.load("recall", [kind])
