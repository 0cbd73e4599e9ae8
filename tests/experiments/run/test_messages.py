"""Messages: each comes back from its line as it was, a wrong line is refused by name, and none is sent in vain."""

import ast
import dataclasses
import json
import math
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.run import messages, runner

EXPERIMENTS = Path(messages.__file__).parents[1]
TEXTS = st.text(st.characters(), max_size=20)  # lone surrogates, line breaks and controls among them
FLOATS = st.floats(width=64)  # NaN and the infinities among them
PLAIN = st.recursive(
  st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
  max_leaves=6,
)
OF_TYPE = {  # values by a field's type
  str: TEXTS,
  int: st.integers(),
  tuple[str, ...]: st.lists(TEXTS, max_size=4).map(tuple),
  tuple[messages.Config, ...]: st.lists(st.dictionaries(TEXTS, PLAIN, max_size=4), max_size=3).map(tuple),
  messages.Samples: st.dictionaries(TEXTS, st.lists(FLOATS, max_size=5), max_size=3),
}
STEP = {"message": "Step", "keys": ["a"], "step": 3}
CALLED = {"message": "Called", "name": "a", "samples": {}}


def made(kind):
  return st.builds(kind, **{field.name: OF_TYPE[field.type] for field in dataclasses.fields(kind)})


def told(value):
  """A value with its types and every digit: NaN equals itself here, and 0.0 is not -0.0."""
  if dataclasses.is_dataclass(value):
    return type(value), [told(getattr(value, field.name)) for field in dataclasses.fields(value)]
  if isinstance(value, dict):
    return dict, [(name, told(item)) for name, item in value.items()]
  if isinstance(value, list | tuple):
    return type(value), [told(item) for item in value]
  return type(value), repr(value)


@pytest.mark.parametrize("kind", messages.CLASSES.values(), ids=messages.CLASSES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_message_comes_back_from_its_line(kind, data):
  message = data.draw(made(kind))
  line = messages.line(message)
  assert line.isascii()
  assert line.splitlines(keepends=True) == [line]
  assert told(messages.read(line)) == told(message)


def test_samples_keep_what_is_no_number():
  sent = messages.Called("a", {"x": [math.nan, math.inf, -math.inf, -0.0, 0.1]})
  assert told(messages.read(messages.line(sent))) == told(sent)


@pytest.mark.parametrize(
  ("said", "words"),
  [
    ([], r"a message is \[\]; allowed: an object"),
    ({}, "unknown message null; allowed: Train, Call, Hello"),
    ({**STEP, "message": "Leap"}, 'unknown message "Leap"'),
    ({**STEP, "message": ["Step"]}, r'unknown message \["Step"\]'),
    ({"message": "Step", "keys": []}, "Step lacks step; its fields: keys, step"),
    ({"message": "Step"}, "Step lacks keys, step"),
    ({**STEP, "event": "step"}, "Step has the unknown field event; its fields: keys, step"),
    ({**STEP, "step": 3.0}, r"Step.step is 3.0; allowed: int"),
    ({**STEP, "step": True}, r"Step.step is true; allowed: int"),
    ({**STEP, "step": None}, r"Step.step is null; allowed: int"),
    ({**STEP, "keys": "a"}, r'Step.keys is "a"; allowed: tuple'),
    ({**STEP, "keys": ["a", 1]}, r"Step.keys\[1\] is 1; allowed: str"),
    ({**CALLED, "samples": []}, r"Called.samples is \[\]; allowed: dict"),
    ({**CALLED, "samples": {"x": [1.0, 2]}}, r'Called.samples\["x"\]\[1\] is 2; allowed: float'),
    ({**CALLED, "samples": {"x": 1.0}}, r'Called.samples\["x"\] is 1.0; allowed: list'),
  ],
)
def test_a_line_that_is_no_message_is_refused_by_what_is_wrong(said, words):
  with pytest.raises(messages.Unreadable, match=words) as refused:
    messages.read(json.dumps(said))
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize("length", range(1, len(messages.line(messages.Step(("a",), 3))) - 1))
def test_a_line_torn_off_is_told_from_a_wrong_one(length):
  with pytest.raises(json.JSONDecodeError):
    messages.read(messages.line(messages.Step(("a",), 3))[:length])


def nodes(room):
  paths = [path for path in (EXPERIMENTS / room).glob("*.py") if path.name != "messages.py"]
  return [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]


def named(nodes):
  """The messages that stand in these expressions, as messages.Step."""
  inside = [part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Attribute)]
  return {part.attr for part in inside if ast.unparse(part.value) == "messages"} & messages.CLASSES.keys()


def sent(room):
  return named(node.func for node in nodes(room) if isinstance(node, ast.Call))


def received(room):
  """Those that a file tells from others, by `match` or isinstance."""
  asked = [
    node.args[1] for node in nodes(room) if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
  ]
  return named([node.cls for node in nodes(room) if isinstance(node, ast.MatchClass)] + asked)


@pytest.mark.parametrize(
  ("kinds", "sender", "receiver"), [(messages.Request, "run", "worker"), (messages.Event, "worker", "run")]
)
def test_every_message_has_a_sender_and_a_receiver(kinds, sender, receiver):
  known = {kind.__name__ for kind in get_args(kinds)}
  assert sent(sender) == known
  assert received(receiver) >= known


def test_what_a_worker_says_that_is_no_message_ends_the_command():
  heard = runner._heard('{"message": "Leap"}')
  assert isinstance(heard, messages.Unreadable)
  with pytest.raises(messages.Unreadable, match="Leap"):
    runner.Runner._handle(None, None, heard, lambda name, samples: None)
