"""Rows on the feed-forward network and on the list of components: check, table, and what the arms differ in."""

import importlib.util
import itertools
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from configs.check import flatten
from experiments.claims import grid
from experiments.claims.comp import studies as parts
from experiments.claims.depth import DEPTH
from experiments.claims.ffn import checks, published, studies
from experiments.claims.pos.studies import ORDER
from experiments.protocol import assess, catalog, reproduce, study
from experiments.protocol.claim import Trial
from experiments.run.cohorts import cohort_key, trial_key
from model import build
from model.feedforward.identity import Identity
from train.step import parameters

ROWS = catalog.group("FFN") + catalog.group("COMP")
TRIALS = [claim for claim in ROWS if isinstance(claim.experiment, Trial)]


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.0125).outcome


def asked(claim) -> set[str]:
  return reproduce.names(claim.experiment.test)


def point(plan, arm):
  return study.point(plan, "small", arm, lr=1e-2, seed=100, split="test")


def count(plan, arm):
  config = point(plan, arm)
  return parameters(config, build.make("tasks", dict(config["task"]), package="train"))


def test_every_row_has_an_experiment():
  assert [claim.id for claim in ROWS if claim.experiment is None] == []


@pytest.mark.parametrize("claim", TRIALS, ids=lambda claim: claim.id)
def test_tests_read_arms_of_their_study(claim):
  for name in reproduce.names(claim.experiment.test):
    assert name.partition(":")[0] in claim.experiment.study.arms


@pytest.mark.parametrize("plan", [studies.MOD_SUM, parts.PARTS], ids=lambda plan: plan.name)
def test_studies_resolve(plan):
  for arm in plan.arms:
    config = point(plan, arm)
    assert config["train"]["steps"] % config["eval"]["every"] == 0


@pytest.fixture
def fresh(monkeypatch):
  monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[1:2])
  grid.forget()
  yield monkeypatch
  grid.forget()


def test_two_layers_without_a_non_linearity_are_one(fresh):
  claim = catalog.by_id("FFN-4c")
  found = checks.collapse()
  assert asked(claim) == set(found)
  assert outcome(claim, found) == "above"


def test_a_hidden_non_linearity_shows(fresh):
  fresh.setattr(Identity, "__call__", lambda self, x_BTM: self.down(jax.nn.relu(self.up(x_BTM))))
  assert outcome(catalog.by_id("FFN-4c"), checks.collapse()) == "below"


def test_the_best_affine_map_is_found():
  rng = np.random.default_rng(0)
  x_NM, w_MM = rng.normal(size=(40, 5)), rng.normal(size=(5, 5))
  np.testing.assert_allclose(checks._best(x_NM, x_NM @ w_MM + 3.0), x_NM @ w_MM + 3.0, atol=1e-10)
  assert checks._left(np.abs(x_NM), checks._best(x_NM, np.abs(x_NM))) > 0.3


def test_the_table_of_published_models():
  rows = published.PUBLISHED
  assert len(rows) >= 15
  assert {len(row) for row in rows} == {4}
  assert len({row[0] for row in rows}) == len(rows)
  years = [int(row[1]) for row in rows]
  assert years == sorted(years)
  assert {row[3] for row in rows} == {"memory", "Transformers"}
  assert all(re.fullmatch("(gated |squared )?(ReLU|GELU|SiLU)", row[2]) for row in rows)
  assert published.share(2017, 2018) == 1.0
  assert published.share(2017, 2018, ("ReLU",)) == pytest.approx(1 / 3)


FOLDERS = {
  "GPT": "openai",
  "BERT": "bert",
  "BART": "bart",
  "T5": "t5",
  "Reformer": "reformer",
  "mT5": "mt5",
  "GPT-J": "gptj",
  "OPT": "opt",
  "LLaMA": "llama",
  "Persimmon": "persimmon",
  "StarCoder2": "starcoder2",
  "Phi-3": "phi3",
  "Gemma 3": "gemma3",
  "Nemotron-4": "nemotron",
}
WORDS = {"gelu": "GELU", "relu": "ReLU", "silu": "SiLU", "relu2": "squared ReLU", "gated-gelu": "gated GELU"}


@pytest.mark.peer
@pytest.mark.parametrize("model", FOLDERS)
def test_lines_of_the_table_that_were_looked_up(model):
  """The default in the configuration's source, read without importing it; a gate of SiLU shows in the model only."""
  found = importlib.util.find_spec("transformers")
  if found is None or found.origin is None:
    pytest.skip("Transformers is not installed")
  folder = Path(found.origin).parent / "models" / FOLDERS[model]
  source = (folder / f"configuration_{FOLDERS[model]}.py").read_text()
  name = "hidden_act|hidden_activation|activation_function|feed_forward_proj|afn"
  default = re.search(rf'^    (?:{name}): str[^=]*= "([^"]+)"', source, re.MULTILINE)
  assert default, f"{folder} has no default"
  told = WORDS[re.sub("_new|_pytorch_tanh", "", default[1])]
  (line,) = [row for row in published.PUBLISHED if row[0] == model]
  assert line[2].removeprefix("gated ") == told.removeprefix("gated ")
  assert line[3] == "Transformers"


def test_networks_of_equal_size():
  plan = studies.MOD_SUM
  network = count(plan, "ReLU, 1")
  assert count(plan, "identity, 1") == count(plan, "GELU, 1") == network
  large, wide, none = (count(plan, f"{name}, modulo 16") for name in ("ReLU", "wide attention", "none"))
  assert count(plan, "identity, modulo 16") == large
  assert wide / large == pytest.approx(1.0, abs=0.05)
  assert none < 0.8 * large
  assert {count(plan, f"ReLU, 2, {order}") for order in studies.ORDERS} == {count(plan, "ReLU, 2")}


def differences(one, other):
  one, other = (flatten(point(parts.PARTS, arm)) for arm in (one, other))
  return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_a_removal_takes_away_one_part_and_nothing_else():
  changed = {
    "attention": "model.attention.scale",
    "positions": "model.position.",
    "network": "model.feedforward.kind",
    "norm": "model.wiring.norm",
    "residual": "model.wiring.residual",
  }
  assert set(changed) == set(parts.REMOVALS)
  removed = [arm for arm in parts.PARTS.arms if ", no " in arm]
  assert len(removed) == 2 * len(parts.REMOVALS)  # on its own task, and on words
  for arm in removed:
    task, part = arm.split(", no ")
    found = differences(arm, f"{task}, complete")
    assert found
    assert all(key.startswith(changed[part]) for key in found)


def test_parts_are_replaced_at_equal_parameters():
  for part, task in parts.OWN.items():
    whole, without = (count(parts.PARTS, f"{task}, {name}") for name in ("complete", f"no {part}"))
    assert without / whole == pytest.approx(1.0, abs=0.05)


def test_the_prediction_names_every_part_on_its_own_task():
  assert set(parts.OWN) == set(parts.REMOVALS)
  assert all(part in parts.PATTERN[task] for part, task in parts.OWN.items())
  assert set(itertools.chain(*parts.PATTERN.values())) == set(parts.REMOVALS)
  assert not set(parts.PATTERN) & {"words"}


@pytest.mark.parametrize(
  ("study", "arm", "own"),
  [
    (DEPTH, "pre, 6", "deep, complete"),
    (DEPTH, "none, 6", "deep, no norm"),
    (DEPTH, "pre, 6, no residual", "deep, no residual"),
    (studies.MOD_SUM, "ReLU, modulo 16", "sum, complete"),
    (studies.MOD_SUM, "identity, modulo 16", "sum, no network"),
    (ORDER, "previous, sinusoidal", "order, complete"),
    (ORDER, "previous, none", "order, no positions"),
  ],
)
def test_a_part_taken_away_elsewhere_is_not_run_twice(study, arm, own):
  assert trial_key(point(parts.PARTS, own), {}) == trial_key(point(study, arm), {})
  assert set(parts.PARTS.grid) & set(study.grid)


def test_attention_and_its_average_train_as_one_program():
  assert cohort_key(point(parts.PARTS, "words, no attention")) == cohort_key(point(parts.PARTS, "words, complete"))


def test_attention_without_a_scale_averages(fresh):
  case = next(grid.cases(lambda shape: grid.attention(shape, mechanism={"kind": "dot", "scale": 0.0})))
  (layer,) = case.modules
  weights_BKGTS = grid.call(grid.attend, layer, case.x_BTM)[1]
  np.testing.assert_allclose(weights_BKGTS, 1 / case.shape.length, rtol=1e-6)


def test_one_part_that_may_go_without_loss_is_enough():
  claim, spread = catalog.by_id("COMP-1"), np.random.default_rng(0).normal(0, 0.01, 12)
  found = {}
  for name in asked(claim):
    complete, loss = "complete" in name, name.endswith("loss")
    found[name] = list(spread + (1.0 if complete != loss else 0.5))
  assert outcome(claim, found) == "above"
  assert outcome(claim, found | {"words, no norm:loss": found["words, complete:loss"]}) == "below"
