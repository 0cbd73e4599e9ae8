"""What is refused from reading the sources is what building the parts refuses, in the same words, and nothing else."""

import random

import pytest
from flax import nnx

from configs import Refused as ReadRefused
from configs import check, override, slots
from model import build
from model.errors import Refused
from model.vocabulary import Vocabulary

NUMBERS = (-1, 0, 1, 2, 3, 4, 5, 8, 12, 48)
GIVEN = {
  "attention": {"heads": 2, "head_dim": 4, "layer": 0},
  "position": {"width": 8, "heads": 2, "head_dim": 4},
  "feedforward": {"width": 8},
  "cell": {"width": 8, "hidden": 4},
  "tasks": {},
}
NEEDS_DATA = ("g2p", "prose", "text")
FREE = ("additive", "cosine", "dot", "sigmoid")  # mechanisms that take any number
TRIES = 20


def drawn(kind, default, word):
  """A value of this type, near the border of what is right."""
  match kind:
    case "int":
      return word.choice([default, *NUMBERS])
    case "float" | "float | None":
      return float(word.choice([default or 1.0, -1.0, 0.0, 0.5, 1.0, 2.0]))
    case "bool":
      return word.random() < 0.5
    case "str":
      return word.choice([default, default, "fixed", "other"])
    case _:
      return tuple(word.choice([-1, 0, 1, 2, 3]) for _ in range(word.choice([0, 0, 1, 2, 3])))


def built(family, kind, options):
  """Why building refuses, "" when it does not; without numbers, for a mechanism's are many."""
  package = "train" if family == "tasks" else "model"
  make = lambda: build.make(family, {"kind": kind, **options}, package=package, **GIVEN[family])  # noqa: E731
  try:
    make() if family == "tasks" else nnx.eval_shape(make)
  except Refused as error:
    return str(error)
  return ""


@pytest.mark.parametrize(
  ("family", "kind"), [(f, k) for f in GIVEN for k in slots.kinds(f) if k not in NEEDS_DATA], ids=str
)
def test_a_constructor_read_refuses_what_the_constructor_refuses(family, kind):
  word, options, refused = random.Random(f"{family} {kind}"), slots.options(family, kind), 0
  for _ in range(TRIES if options else 0):
    changed = word.sample(sorted(options), min(len(options), word.choice([1, 2, 3])))
    given = {name: option["default"] for name, option in options.items()}
    given |= {name: drawn(options[name]["type"], given[name], word) for name in changed}
    said = slots.refusal(family, kind, {**GIVEN[family], **given}) or ""
    assert said == built(family, kind, given), given
    refused += said != ""
  assert refused or family in ("feedforward", "cell") or kind in FREE or not options


TINY = {"model.width": 8, "model.heads": 2, "model.depth": 2, "model.kind": "gpt"}
CHANGES = (
  {"model.window": 2},
  {"model.itself": False},
  {"model.segment": 2},
  {"model.block": 2},
  {"model.kv_heads": 1},
  {"model.head_dim": 6},
  {"model.head_dim": 3},
  {"model.tie": "kv"},
  {"model.tie": "qkv"},
  {"model.projections": "vo"},
  {"model.projections": "qkv", "model.value_dim": 3},
  {"model.wiring.order": "aaff"},
  {"model.wiring.order": "afa"},
  {"model.wiring.order": "ppp"},
)


def agree(changes):
  """Reading and building say the same of a model."""
  config = override.apply({}, shared=TINY | changes).to_dict()
  try:
    check.check(config)
    early = ""
  except ReadRefused as error:
    early = str(error)
  try:
    nnx.eval_shape(lambda: build.model(config["model"], Vocabulary((3,), 3)))
    late = ""
  except Refused as error:
    late = str(error)
  assert bool(early) == bool(late), f"{changes}: {early or 'nothing'} before, {late or 'nothing'} when built"


@pytest.mark.parametrize("attention", slots.kinds("attention"))
def test_what_a_mechanism_cannot_do_is_told_before(attention):
  for position in ("none", "rope", "alibi", "shaw"):
    agree({"model.attention.kind": attention, "model.position.kind": position})
  agree({"model.attention.kind": attention, "model.position.kind": "rope", "model.head_dim": 6})
  for change in CHANGES:
    agree({"model.attention.kind": attention, **change})


@pytest.mark.parametrize("direction", ["forward", "both", "apart"])
@pytest.mark.parametrize("reads", ["none", "after"])
def test_what_a_recurrent_model_cannot_do_is_told_before(direction, reads):
  for more in ({}, {"model.width": 7, "model.heads": 1}, {"model.attention.kind": "linear"}, {"model.cell.chrono": 1}):
    agree({"model.kind": "rnn", "model.direction": direction, "model.reads": reads, **more})


OWN = """
import math
from helper import least
from model.attention.dot import Dot as Base
from model.attention.mechanism import Mechanism
from model.errors import Refused

LIMIT = 2 ** 3

class Plain(Mechanism):
  def __init__(self, heads, head_dim, *, layer=0, size: int = 4, names: tuple[str, ...] = (), share: float = 0.5):
    super().__init__(heads, head_dim, layer=layer)
    half, self.rest = divmod(size, 2)
    if half < unknown(size):
      raise Refused("who knows")
    if size > LIMIT or not 0 <= share <= math.pi:
      raise Refused(f"size={size} and share={share:.2f} go beyond {LIMIT}")
    least("size", size, 2)
    for name in names:
      if len(name) > 3:
        raise Refused(f"{name!r} is long, of {len(names)} with {half}")

class Heir(Base):
  def __init__(self, heads, head_dim, *, layer=0, power: int = 1):
    super().__init__(heads, head_dim, layer=layer)
    try:
      self.table = [1 / power]
    except ZeroDivisionError:
      raise Refused("not known without running it") from None
    if power > 5:
      raise Refused("behind what cannot be read")

class Huge(Mechanism):
  def __init__(self, heads, head_dim, *, size: int = 1):
    if size ** size ** size > 3:
      raise Refused("too large")
"""
HELPER = """
from model.errors import Refused

def least(name, value, low):
  if value < low:
    raise Refused(f"{name}={value} is below {low}")
  return value
"""


def test_a_class_of_the_users_is_read_and_never_run(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text(OWN)
  (tmp_path / "helper.py").write_text(HELPER)
  monkeypatch.chdir(tmp_path)

  def said(name, **options):
    return slots.refusal("attention", f"mine.py:{name}", {"heads": 2, "head_dim": 4, "layer": 0, **options})

  right = {"size": 4, "names": (), "share": 0.5}
  assert said("Plain", **right) is None
  assert said("Plain", **right | {"size": 9}) == "size=9 and share=0.50 go beyond 8"
  assert said("Plain", **right | {"share": 4.0}) == "size=4 and share=4.00 go beyond 8"
  assert said("Plain", **right | {"size": 1}) == "size=1 is below 2"
  assert said("Plain", **right | {"names": ("abc", "abcd")}) == "'abcd' is long, of 2 with half"
  assert said("Heir", power=9) is None  # leave it to the worker
  assert said("Huge", size=999_999) is None
