"""What is the same trial, what is the same compile."""

import itertools
import json

import jax
import pytest

from configs import check, slots
from experiments.record import stamp
from experiments.run import cohorts, messages
from experiments.worker import pack
from experiments.worker import serve as work
from model import build
from model.errors import Refused
from tests.train.tiny import tiny
from train import step

MEMBERS = [
  {"seed": 5},
  {"optim__lr": 0.5},
  {"optim__label_smoothing": 0.1},
  {"optim__schedule__kind": "cosine"},
  {"model__attention__scale": 1.0},
  {"model__init__kind": "torch"},
  {"model__init__qk_gain": 0.5},
  {"eval__split": "test"},
]
STRUCTURE = [
  {"model__heads": 2},
  {"model__width": 16},
  {"model__attention__kind": "additive"},
  {"model__attention__learned": True},
  {"model__attention__kind": "talking"},
  {"model__dropout": 0.1},
  {"train__steps": 10},
  {"train__batch": 4},
  {"task__values": 3},
  {"optim__kind": "sgd"},
]


@pytest.mark.parametrize("change", MEMBERS)
def test_member_keys_share_a_cohort_but_not_a_trial(change):
  assert cohorts.cohort_key(tiny()) == cohorts.cohort_key(tiny(**change))
  assert cohorts.trial_key(tiny(), {}) != cohorts.trial_key(tiny(**change), {})


@pytest.mark.parametrize("change", STRUCTURE)
def test_all_else_is_another_cohort(change):
  assert cohorts.cohort_key(tiny()) != cohorts.cohort_key(tiny(**change))


def test_dropout_rates_share_a_cohort():
  for key in ("model__dropout", "model__attention_dropout"):
    one, other = (tiny(**{key: rate}) for rate in (0.1, 0.2))
    assert cohorts.cohort_key(one) == cohorts.cohort_key(other) != cohorts.cohort_key(tiny())
    assert cohorts.trial_key(one, {}) != cohorts.trial_key(other, {})


def test_a_trial_without_dropped_weights_keeps_the_key_from_before_the_option():
  old = {name: dict(value) if name == "model" else value for name, value in tiny().items()}
  assert old["model"].pop("attention_dropout") == 0.0
  assert cohorts.trial_key(old, {}) == cohorts.trial_key(tiny(), {})
  assert cohorts.cohort_key(old) == cohorts.cohort_key(tiny())


def test_the_data_is_part_of_the_trial():
  assert cohorts.trial_key(tiny(), {}) != cohorts.trial_key(tiny(), {"cmudict": "ff"})


def test_packs_hold_one_cohort_each_and_every_trial_once():
  points = {f"{h}{s}": tiny(model__heads=h, seed=s) for s in range(5) for h in (1, 2)}
  packed = cohorts.packs(points, 2)
  assert sorted(key for one in packed for key in one.keys) == sorted(points)
  for one in packed:
    assert len(one.keys) <= 2
    assert {cohorts.cohort_key(config) for config in one.configs} == {one.cohort}


def test_what_a_learned_scale_starts_from_is_a_dial_too():
  one, other = (tiny(model__attention__learned=True, model__attention__scale=scale) for scale in (0.5, 2.0))
  assert cohorts.cohort_key(one) == cohorts.cohort_key(other)
  assert outline(one) == outline(other)


def test_options_that_came_later_leave_old_keys_alone(monkeypatch):
  """At the value that means "as before", of every kind or of one, and in a section that came with them."""
  before, data = tiny(), {"corpus": "ff"}
  later = {"model.wiring.eps": 1e-6, "model.attention:dot.limit": None, "model.extra.size": 0}
  monkeypatch.setattr(cohorts, "LATER", later)
  grown = json.loads(json.dumps(before))
  grown["model"]["wiring"]["eps"] = 1e-6
  grown["model"]["attention"]["limit"] = None
  grown["model"]["extra"] = {"size": 0}
  for key in (cohorts.cohort_key, lambda config: cohorts.trial_key(config, data)):
    assert key(grown) == key(before)
    for change in ({"wiring": {"eps": 1e-5}}, {"attention": {"limit": 1.0}}, {"extra": {"size": 1}}):
      name, values = next(iter(change.items()))
      other = {**grown, "model": {**grown["model"], name: {**grown["model"][name], **values}}}
      assert key(other) != key(before)
  another = {**grown, "model": {**grown["model"], "attention": {"kind": "cosine", "scale": 1.0, "limit": None}}}
  without = {**another, "model": {**another["model"], "attention": {"kind": "cosine", "scale": 1.0}}}
  assert cohorts.trial_key(another, {}) != cohorts.trial_key(without, {})  # the entry names dot alone


def test_the_same_file_is_the_same_trial_however_its_path_is_written(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text(STATIC)
  (tmp_path / "words.txt").write_text("words")
  monkeypatch.chdir(tmp_path)
  (tmp_path / "link").symlink_to(tmp_path)

  def config(folder):
    made = tiny(model__attention__kind=f"{folder}mine.py:Scale")
    return {**made, "task": {**made["task"], "path": f"{folder or './'}words.txt"}}

  spelled = [config(folder) for folder in (f"{tmp_path}/", "", "./", "link/")]
  for key in (lambda one: cohorts.trial_key(one, {}), cohorts.cohort_key):
    assert len({key(one) for one in spelled}) == 1
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "mine.py").write_text(STATIC)
  (tmp_path / "other" / "words.txt").write_text("words")
  assert cohorts.trial_key(config("other/"), {}) != cohorts.trial_key(config(""), {})


def test_of_a_users_model_nothing_is_known_to_be_a_dial():
  def own(**more):
    config = tiny(**more)
    return {**config, "model": {**config["model"], "kind": "/tmp/mine.py:Mine"}}

  for change in ({"model__attention__scale": 0.5}, {"model__dropout": 0.1}, {"model__init__gain": 0.5}):
    assert cohorts.cohort_key(own(**change)) != cohorts.cohort_key(own())
  assert cohorts.cohort_key(own(model__dropout=0.1)) != cohorts.cohort_key(own(model__dropout=0.2))
  assert cohorts.cohort_key(own(seed=3)) == cohorts.cohort_key(own())


# ---------------------------------------------------------------------------------------------------------------------
# Equal keys mean equal programs

STATIC = """
from model.attention.mechanism import Mechanism, products
from model.initial import dial


class Plain(Mechanism):
  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    return self.factor * products(q_BTKGD, k_BSKD) + inside


class Scale(Plain):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.factor = scale


class Gain(Plain):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, gain: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.factor = gain


class Sharpness(Plain):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, sharpness: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.sharpness = dial(sharpness)

  @property
  def factor(self):
    return self.sharpness[...]


class Mixed(Plain):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
    self.scale, self.sharp = dial(scale), scale > 1

  @property
  def factor(self):
    return self.scale[...] ** 2 if self.sharp else self.scale[...]
"""
OWN = {"Scale": "scale", "Gain": "gain", "Sharpness": "sharpness", "Mixed": "scale"}
VALUES = {
  bool: (False, True),
  int: (1, 2, 4),
  float: (0.5, 2.0),
  str: ("bigbird", "strided", "fixed"),
  tuple: ((), (0,)),
}


def outline(config):
  return step.outline(config, build.make("tasks", dict(config["task"]), package="train"))


def program(config):
  """What the compiler gets: the text of the step and of the evaluation."""
  whole = pack.prepare(config).whole
  state, member = jax.eval_shape(lambda: whole.init([config])), jax.eval_shape(lambda: whole.members([config]))
  lower = [getattr(function, "jitted", function).lower for function in (whole.advance, whole.evaluate)]
  return [one(state, member, ()).as_text() for one in lower]


def variants(slot, family, kind):
  """Configs that differ in one option of a kind, as far as they are allowed."""
  for name, option in slots.options(family, kind).items():
    types = [type_ for type_ in VALUES if option["type"].startswith(type_.__name__)]
    for value in [value for type_ in types for value in VALUES[type_]]:
      more = {"model__kind": "rnn"} if family == "cell" else {}
      try:
        yield f"{slot}.{name}", tiny(**more, **{f"{slot}__kind".replace(".", "__"): kind, f"{slot}.{name}": value})
      except (Refused, check.Refused):
        continue  # this value does not go with the others


KINDS = [(slot, f, kind) for slot, f in slots.SLOTS.items() if f != "tasks" for kind in slots.kinds(f)]


@pytest.mark.parametrize(("slot", "family", "kind"), KINDS)
def test_equal_keys_mean_equal_models_whatever_the_option(slot, family, kind):
  shared: dict[str, list] = {}
  for name, config in variants(slot, family, kind):
    shared.setdefault(f"{name} {cohorts.cohort_key(config)}", []).append(config)
  for configs in shared.values():
    try:
      outlines = [outline(config) for config in configs]
    except Refused:
      continue  # told by the builder alone
    assert all(one == outlines[0] for one in outlines)
  dialed = [configs for configs in shared.values() if len(configs) > 1]
  assert len(dialed) == len(slots.dials(family, kind))
  for one, other, *_ in dialed:
    assert program(one) == program(other)


RUN_TIME = [
  {"optim__schedule__kind": "exponential", "optim__schedule__rate": 2.0},
  {"optim__schedule__kind": "warmup", "optim__schedule__warmup": 3},
  {"optim__label_smoothing": 0.1, "optim__lr": 0.3, "seed": 7},
  {"model__init__kind": "torch", "model__init__qk": "gpt2", "model__init__gain": 0.5, "model__init__out_gain": 2.0},
  {"eval__split": "test", "probes": "entropy"},
]


def test_member_keys_change_nothing_of_the_program():
  texts = program(tiny(optim__kind="adamw", optim__weight_decay=0.1))
  for change in RUN_TIME:
    config = tiny(optim__kind="adamw", optim__weight_decay=0.2, **change)
    config["eval"]["judge"] = True  # which this task would refuse as idle
    assert cohorts.cohort_key(config) == cohorts.cohort_key(tiny(optim__kind="adamw", optim__weight_decay=0.1))
    assert program(config) == texts


@pytest.mark.parametrize("name", OWN)
def test_equal_keys_mean_equal_models_of_a_users_class(tmp_path, name):
  (tmp_path / "mine.py").write_text(STATIC)
  kind = f"{tmp_path / 'mine.py'}:{name}"
  values = [tiny(model__attention__kind=kind, **{f"model__attention__{OWN[name]}": value}) for value in (0.5, 0.7, 2.0)]
  for one, other in itertools.permutations(values, 2):
    alike = cohorts.cohort_key(one) == cohorts.cohort_key(other)
    assert alike == (name == "Sharpness")
    assert (outline(one) == outline(other)) == (
      alike or (name == "Mixed" and one["model"] != values[2]["model"] != other["model"])
    )
  if name == "Sharpness":
    assert program(values[0]) == program(values[2])


@pytest.mark.parametrize("name", OWN)
def test_a_worker_shares_no_program_between_models_that_differ(tmp_path, name):
  """Whatever the keys say: here all members are said to be of one cohort."""
  (tmp_path / "mine.py").write_text(STATIC)
  kind = f"{tmp_path / 'mine.py'}:{name}"
  values = [tiny(model__attention__kind=kind, **{f"model__attention__{OWN[name]}": value}) for value in (0.5, 2.0, 0.5)]
  one = cohorts.Pack("c", ("a", "b", "c", "d"), (*values, {**values[0], "seed": 9}))
  told, held = [], {}
  parts = work._parts(one, held, lambda event: told.append(event.cohort))
  if name == "Sharpness":
    assert parts == [("c", one)]
    assert told == ["c"]
  else:
    assert [(part, chosen.keys) for part, chosen in parts] == [("c", ("a", "c", "d")), ("c.1", ("b",))]
    assert told == ["c", "c.1"]
    assert all(held[part].whole.config == chosen.configs[0] for part, chosen in parts)
  assert work._parts(one, held, lambda event: pytest.fail("compiled again")) == parts


def test_a_users_static_option_trains_as_it_would_alone(tmp_path):
  """The same in both orders, in one worker after another point and alone; the two values differ."""
  (tmp_path / "mine.py").write_text(STATIC)
  kind, found = f"{tmp_path / 'mine.py'}:Scale", []
  configs = [tiny(model__attention__kind=kind, model__attention__scale=scale) for scale in (0.5, 2.0)]
  for number, order in enumerate((configs, configs[::-1])):
    points = {cohorts.trial_key(config, {}): config for config in order}
    held = {}
    for one in cohorts.packs(points, 1):
      code = tuple(stamp.code(config)["code_sha256"] for config in one.configs)
      request = messages.Train(one.cohort, one.keys, one.configs, code)
      root = tmp_path / str(number)
      assert work.one(root, request, held, keep=False, stop=lambda: False, tell=lambda event: None) == "done"
    results = {key: work.Store(tmp_path / str(number)).result(key) for key in points}
    found.append({key: result["measures"] for key, result in results.items() if result})
  assert found[0] == found[1]
  assert len({measures["loss"] for measures in found[0].values()}) == 2
