"""Overrides: kinds first, names and types checked, every mistake one line."""

import json
import math
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import base, override, slots, sweep
from configs.check import Refused, flatten, schema


def text(config) -> str:
  """What two spellings of one configuration have in common: 1 and 1.0 differ, the order of keys does not."""
  return json.dumps(override.resolve(config), allow_nan=False)


def refusal(*overrides, card="heads"):
  with pytest.raises(Refused) as caught:
    override.load(card, overrides)
  message = str(caught.value)
  assert "\n" not in message
  assert message
  return message


@pytest.fixture
def heads():
  return override.load("heads")


def test_texts_and_values_say_the_same(heads):
  texts = override.apply(heads, ["model.heads=8", "optim.lr=3e-3", "model.attention.scale=1", "model.bias=true"])
  values = {"model.heads": 8, "optim.lr": 3e-3, "model.attention.scale": 1.0, "model.bias": True}
  assert text(texts) == text(override.apply(heads, values))
  assert isinstance(texts.model.attention.scale, float)


def test_the_original_is_left_alone(heads):
  before = text(heads)
  override.apply(heads, ["model.attention.kind=additive", "model.heads=2", "model.wiring.norm=post"])
  assert text(heads) == before


def test_the_prefix_of_the_command_line_and_the_last_value_win(heads):
  assert override.apply(heads, ["--config.model.heads=1", "model.heads=2"]).model.heads == 2


def test_a_changed_kind_keeps_chosen_values_that_both_accept(heads):
  config = override.apply(heads, ["model.feedforward.hidden=96", "model.feedforward.kind=gelu"])
  assert config.model.feedforward.to_dict() == {"kind": "gelu", "hidden": 96, "tanh": False}
  again = override.apply(config, ["model.feedforward.tanh=true", "model.feedforward.kind=relu"][1:])
  assert again.model.feedforward.to_dict() == {"kind": "relu", "hidden": 96}


def test_a_changed_kind_leaves_old_defaults_behind(heads):
  cosine = override.apply(heads, {"model.attention.kind": "cosine"})
  assert cosine.model.attention.scale == 10.0
  assert override.apply(cosine, {"model.attention.kind": "dot"}).model.attention.scale is None
  warm = override.apply(cosine, {"model.attention.scale": 4.0})
  assert override.apply(warm, {"model.attention.kind": "dot"}).model.attention.scale == 4.0


def test_the_kind_comes_first_whatever_the_order(heads):
  first = override.apply(heads, ["model.attention.gain=2", "model.attention.kind=additive"])
  last = override.apply(heads, ["model.attention.kind=additive", "model.attention.gain=2"])
  assert first.to_dict() == last.to_dict()
  assert first.model.attention.gain == 2.0


def test_options_of_the_left_kind_are_unknown():
  message = refusal("model.attention.kind=additive", "model.attention.scale=2")
  assert "model.attention.scale" in message
  assert "gain" in message


@pytest.mark.parametrize(
  ("typo", "meant"),
  [
    ("model.hedas=2", "model.heads"),
    ("lr=1e-3", "optim.lr"),
    ("model.lr=1e-3", "optim.lr"),
    ("optim.shedule.warmup=3", "optim.schedule.warmup"),
    ("task.par=3", "task.pairs"),
    ("model.attention.kind=aditive", "additive"),
    ("model.position.kind=sinusoid", "sinusoidal"),
    ("task.kind=recal", "recall"),
    ("model.kind=gtp", "gpt"),
    ("optim.schedule.kind=warmup-cosine", "warmup_cosine"),
    ("model.atention.kind=dot", "model.attention.kind"),
    ("optim.scedule.kind=constant", "optim.schedule.kind"),
  ],
)
def test_a_typo_gets_a_suggestion(typo, meant):
  assert f"did you mean {meant}?" in refusal(typo)


@pytest.mark.parametrize(
  "text",
  [
    "model.heads=four",
    "model.heads=4.0",
    "model.heads=none",
    "model.heads=true",
    "optim.lr=fast",
    "optim.lr=nan",
    "optim.lr=inf",
    "optim.lr=none",
    "model.bias=1",
    "model.attention=dot",
    "model=1",
    "seed=99999999999999999999",
    "model.heads",
    "=4",
    "model.attention.kind=nowhere.py:Mine",
    "model.attention.kind=:Mine",
    "model.attention.kind=mine.py",
    "model.attention.kind=~nobody-here/mine.py:Mine",
    "model.attention.kind=mechanism",
    "model.attention.kind=../attention/dot",
    "model.attention.kind=" + "x" * 5000,
  ],
)
def test_wrong_types_and_shapes_are_refused(text):
  refusal(text)


@pytest.mark.parametrize(
  ("key", "value"),
  [("model.heads", True), ("model.bias", 1), ("optim.lr", math.nan), ("probes", 3), ("model.attention.kind", None)],
)
def test_wrong_values_are_refused_too(heads, key, value):
  with pytest.raises(Refused, match=key.replace(".", "[.]")):
    override.apply(heads, {key: value})


def test_none_tuples_and_booleans(heads):
  config = override.apply(heads, ["model.attention.scale=2.5"])
  assert override.apply(config, ["model.attention.scale=None"]).model.attention.scale is None
  assert override.apply(heads, ["probes=entropy,pruning"]).probes == ("entropy", "pruning")
  assert override.apply(heads, ["probes="]).probes == ()
  assert override.apply(heads, ["model.bias=True"]).model.bias is True


def test_unknown_cards_name_those_that_exist():
  with pytest.raises(Refused, match="did you mean heads") as caught:
    override.load("haeds")
  assert all(name in str(caught.value) for name in sweep.cards())


def test_json_round_trip_keeps_every_value(tmp_path):
  for name in sweep.cards():
    resolved = override.resolve(override.load(name))
    path = tmp_path / name / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(resolved))
    assert override.resolve(override.load(str(path))) == resolved
    assert text(override.load(str(path.parent))) == text(resolved)
    assert json.loads(text(resolved)) == resolved


def test_what_resolves_does_not_depend_on_spelling(heads):
  shuffled = dict(reversed(list(heads.to_dict().items())))
  shuffled["optim"]["clip"] = 1  # a whole number where a float stands
  shuffled["probes"] = []
  assert text(shuffled) == text(heads)


def test_missing_keys_have_the_defaults_of_base_and_of_the_kinds():
  config = override.apply({"model": {"attention": {"kind": "additive"}}})
  assert config.model.attention.to_dict() == {"kind": "additive", **slots.defaults("attention", "additive")}
  assert config.optim.to_dict() == base.get_config().optim.to_dict()


CARD = """
from configs import base
def get_config():
  config = base.get_config()
  config.model.width = {width}
  return config
"""


def test_a_card_of_the_users_own(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(CARD.format(width=32))
  assert override.load(str(path), ["model.heads=2"]).model.width == 32
  with pytest.raises(Refused, match="sweep"):
    override.points(str(path))


@pytest.mark.parametrize("text", ["def (", "import nothing_there", "x = 1", "def get_config():\n  return 3",
                                  "def get_config():\n  raise KeyError('a\\nb')", CARD.format(width=-3)])  # fmt: skip
def test_broken_cards_are_told_in_one_line(tmp_path, text):
  path = tmp_path / "broken.py"
  path.write_text(text)
  with pytest.raises(Refused) as caught:
    override.load(str(path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": 3}', '{"modle": {}}', '{"seed": "0"}', '{"seed": null}',
                                  '{"model": {"attention": {"kind": 3}}}', '{"optim": {"lr": NaN}}',
                                  '{"task": {"kind": null}}', "[" * 100_000])  # fmt: skip
def test_broken_stored_runs_are_told_in_one_line(tmp_path, text):
  path = tmp_path / "config.json"
  path.write_text(text)
  with pytest.raises(Refused) as caught:
    override.load(str(path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "name", ["", "no.py", "no.json", "a/b", "\0", "\0.py", "\0.json", "~nobody-here/x.py", "x" * 5000]
)
def test_names_that_lead_nowhere(name):
  with pytest.raises(Refused):
    override.load(name)


def test_field_references_of_a_card_are_resolved():
  config = base.get_config()
  config.model.feedforward = ConfigDict({"kind": "relu"})
  config.model.feedforward.hidden = config.model.get_ref("width") * 3
  assert override.resolve(config)["model"]["feedforward"]["hidden"] == 192


KEYS = [
  *sorted(flatten(base.get_config().to_dict())),
  "task.pairs",
  "model.attention.scale",
  "model.feedforward.hidden",
]
WORDS = [
  "none",
  "true",
  "1e400",
  "-1",
  "0",
  "1e-3",
  "7",
  "dot",
  "additive",
  "recall",
  "g2p",
  "a,b",
  "nan",
  "x.py:X",
  "",
]


@st.composite
def mutated(draw):
  text = f"{draw(st.sampled_from(KEYS))}={draw(st.sampled_from(WORDS) | st.text(max_size=8))}"
  for _ in range(draw(st.integers(0, 2))):
    at = draw(st.integers(0, len(text)))
    text = text[:at] + draw(st.sampled_from(string.printable + "é\0")) + text[at + draw(st.integers(0, 1)) :]
  return text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(mutated(), min_size=1, max_size=3))
def test_no_text_raises_anything_but_refused(texts):
  message = ""
  try:
    resolved = override.resolve(override.load("heads", texts))
  except Refused as error:
    message = str(error)
  else:
    assert override.resolve(json.loads(json.dumps(resolved))) == resolved
    assert set(flatten(resolved)) == set(schema(resolved))
  assert len(message.splitlines()) < 2


def test_a_workdir_of_one_run_is_its_config_and_one_of_several_asks_which(tmp_path):
  for key in ("a", "b"):
    folder = tmp_path / "work" / "trials" / key
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(override.resolve(override.load("recall", {"model.heads": 2}))))
    for name in (tmp_path / "work", tmp_path / "work" / "config.json"):
      if key == "a":
        assert override.load(str(name), {}).model.heads == 2
      else:
        with pytest.raises(Refused, match=r"holds 2 runs; give one, such as .*/a/config.json"):
          override.load(str(name), {})
