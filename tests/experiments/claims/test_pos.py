"""Claims about positions: their checks against known answers and sabotage, the probe, the studies as declared."""

import itertools
import math
from collections import Counter, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import override
from experiments.claims import grid
from experiments.claims.pos import checks, studies, trained
from experiments.probes import longer
from experiments.probes.subject import Subject
from experiments.protocol import assess, catalog, reproduce, study
from experiments.protocol.claim import Check, Trial
from model import build, initial, mask
from model.errors import Refused
from model.position.alibi import Alibi
from train.chance import guess_from_a_bag
from train.state import STREAMS
from train.tasks.roles import Roles

ROWS = catalog.group("POS")
CHECKED = {claim.id: claim for claim in ROWS if isinstance(claim.experiment, Check)}
TRIALS = [claim for claim in ROWS if isinstance(claim.experiment, Trial)]
STUDIES = {claim.experiment.study.name: claim.experiment.study for claim in TRIALS}


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.005).outcome


# ---------------------------------------------------------------------------------------------------------------------
# Checks


@pytest.fixture
def small(monkeypatch):
  """One shape and one layer are enough to see a fault; nothing compiled with the fault may be used again."""
  monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[1:2])
  monkeypatch.setattr(checks, "SHAPES", grid.SHAPES)
  monkeypatch.setattr(checks, "DEPTHS", (1,))
  grid.forget()
  yield monkeypatch
  grid.forget()


def samples(claim):
  return getattr(checks, claim.experiment.run.removeprefix("pos.checks."))()


THEORY = {"POS-1": "above", "POS-3": "conditional", "POS-4": "above", "POS-6": "above", "POS-8": "below"}


def test_checks_bring_what_their_rows_ask_and_what_theory_proves(small):
  assert set(THEORY) == set(CHECKED)
  for name, claim in CHECKED.items():
    found = samples(claim)
    assert reproduce.names(claim.experiment.test) <= set(found)
    assert all(np.isfinite(values).all() for values in found.values())
    assert outcome(claim, found) == THEORY[name], name


def near(self, q, k, mark_BS=None):
  return jnp.abs(jnp.asarray(q.pos_BT)[:, :, None] - jnp.asarray(k.pos_BT)[:, None, :]) < 2


@pytest.mark.parametrize("name", ["POS-1", "POS-6"])
def test_a_model_that_knows_its_neighbors_fails(name, small):
  small.setattr(mask.Everything, "__call__", near)
  assert outcome(CHECKED[name], samples(CHECKED[name])) == "below"


def test_a_penalty_on_absolute_positions_fails_the_check_of_shifts(small):
  after = Alibi.after
  small.setattr(Alibi, "after", lambda self, q, k: after(self, q, k) * (1 + jnp.asarray(k.pos_BT)[:, None, None, :]))
  small.setattr(checks, "RELATIVE", {"alibi": {}, "none": {}})
  small.setattr(checks, "ABSOLUTE", {})
  found = checks.shifted()
  assert min(found["alibi: further along"]) > 1e-4
  assert set(found["none: further along"]) == set(found["none: backwards"]) == {0.0}  # no scheme moves no score


def test_order_sense_of_functions_that_know_order_and_of_one_that_does_not():
  x_BTM = np.random.default_rng(0).standard_normal((2, 5, 3))
  assert checks.order_sense(lambda x: x + x.mean(1, keepdims=True), x_BTM) < 1e-15
  assert checks.order_sense(lambda x: np.roll(x, 1, 1), x_BTM) > 0.1
  assert checks.order_sense(lambda x: np.cumsum(x, 1), x_BTM) > 0.1


def test_a_random_table_has_no_common_map_and_a_turning_vector_has():
  random = np.random.default_rng(0)
  turn_MM = np.linalg.qr(random.standard_normal((8, 8)))[0]
  codes = [random.standard_normal(8)]
  for _ in range(299):
    codes.append(turn_MM @ codes[-1])
  assert checks.left_by_one_map(np.array(codes), 5, random) < 1e-9
  table_PM = random.standard_normal((1024, 64))
  assert checks.left_by_one_map(table_PM, 1, random) > 0.9
  few_PM = table_PM[:60]  # fewer positions than features: a map fits them all, but not those held out
  map_MM = np.linalg.lstsq(few_PM[:-1], few_PM[1:], rcond=None)[0]
  assert np.abs(few_PM[:-1] @ map_MM - few_PM[1:]).max() < 1e-9
  assert checks.left_by_one_map(few_PM, 1, random) > 0.5


def test_a_random_table_in_the_place_of_the_sinusoids_fails(monkeypatch):
  code = checks.code
  monkeypatch.setattr(checks, "code", lambda kind, random, **_: code("learned", random, length=checks.POSITIONS))
  assert outcome(CHECKED["POS-3"], checks.maps()) == "below"


def test_query_by_query_is_the_same_attention_and_the_convolution_is_one():
  case = next(grid.cases(grid.attention, shapes=grid.SHAPES[:1]))
  (heads,) = case.modules
  at_once = grid.call(checks._whole, heads, case.x_BTM)
  np.testing.assert_allclose(checks.query_by_query(heads, case.x_BTM), at_once, atol=1e-6)
  x_T, kernel_W = np.random.default_rng(0).standard_normal(7), np.array([2.0, 3.0, 5.0])
  found = checks.convolved(kernel_W[:, None, None], x_T[None, :, None])[0, :, 0]
  np.testing.assert_allclose(found, np.convolve(x_T, kernel_W[::-1], "same"))


def test_the_mirror_image_exchanges_nouns_and_nothing_else():
  tokens_BTC, acted_on_BT, noun_BT = checks._clauses(Roles(clauses=2), 0)
  turned_BTC = checks.mirror(tokens_BTC)
  assert (turned_BTC[:, [2, 1, 0, 5, 4, 3], 0] == tokens_BTC[..., 0]).all()
  assert (turned_BTC[..., 1:] == tokens_BTC[..., 1:]).all()
  assert (noun_BT == (np.arange(6) % 3 != 1)).all()
  assert (acted_on_BT[noun_BT].reshape(-1, 2) == [0, 1]).all()


# ---------------------------------------------------------------------------------------------------------------------
# What the tests are held against


@pytest.mark.parametrize(("length", "values"), [(2, 3), (4, 3), (5, 2)])
def test_the_bag_against_the_best_of_all_guessers(length, values):
  """For every place, own symbol and bag of earlier ones the best guess is the most frequent answer."""
  answers: dict[tuple, Counter] = defaultdict(Counter)
  for row in itertools.product(range(values), repeat=length):
    for t in range(1, length):
      answers[t, row[t], tuple(sorted(row[:t]))][row[t - 1]] += 1
  right = sum(max(counts.values()) for counts in answers.values())
  assert guess_from_a_bag(length, values) == pytest.approx(right / (values**length * (length - 1)))


def task_of(arm: str):
  config = study.point(studies.LAWS, "small", arm, lr=1e-2, seed=0, split="validation")
  return build.make("tasks", dict(config["task"]), package="train")


@pytest.mark.parametrize("task", trained.FLOORS)
def test_floors_are_those_of_the_tasks(task):
  for arm in (f"{task}, t5", f"{task} by the clock, shaw"):
    assert trained.FLOORS[task] == pytest.approx(task_of(arm).exact_entropy)


@pytest.mark.parametrize("task", trained.FLOORS)
@pytest.mark.parametrize(("share", "passes"), [(0.94, True), (0.96, False)])
def test_a_twentieth_less_excess_is_what_counts(task, share, passes):
  floor = trained.FLOORS[task]
  losses = dict.fromkeys(studies.ABSOLUTE, floor + 0.3) | dict.fromkeys(studies.RELATIVE, floor + share * 0.3)
  arms = {
    f"{name}, {scheme}": [loss] * 12 for name in (task, f"{task} by the clock") for scheme, loss in losses.items()
  }
  for cell in trained._less_excess(task).cells.values():
    assert (assess.assess(cell, arms, 0.005).outcome == "above") is passes


# ---------------------------------------------------------------------------------------------------------------------
# Studies


def test_every_row_but_real_translation_has_an_experiment():
  assert {claim.id for claim in ROWS if claim.experiment is None} == {"POS-10"}


@pytest.mark.parametrize("claim", TRIALS, ids=lambda claim: claim.id)
def test_tests_read_arms_of_their_study_and_probes_that_it_runs(claim):
  plan = claim.experiment.study
  for name in reproduce.names(claim.experiment.test):
    arm, _, measure = name.partition(":")
    assert arm in plan.arms
    if measure.startswith("probe."):
      probe, key = measure.removeprefix("probe.").split(".")
      assert probe in plan.probes
      assert key in {f"{what}_{times}x" for what in ("loss", "accuracy") for times in longer.TIMES}


def test_weights_of_every_contrast_between_arms_cancel_but_for_the_share():
  for test in (trained._decisive(), trained._FAR, trained._grows("motif"), trained._lost(studies.RELATIVE, 2)):
    parts = [*getattr(test, "cells", {"": test}).values(), getattr(test, "interaction", None)]
    for part in parts:
      assert part is None or not hasattr(part, "weights") or sum(part.weights.values()) == pytest.approx(0.0)
  for task in trained.FLOORS:
    for cell in trained._less_excess(task).cells.values():
      assert sum(cell.weights.values()) == pytest.approx(trained.SHARE - 1)


@pytest.mark.parametrize("plan", STUDIES.values(), ids=STUDIES)
def test_studies_resolve_and_their_tables_are_long_enough(plan):
  for tier, arm in itertools.product(plan.tiers, plan.arms):
    config = study.point(plan, tier, arm, lr=plan.grid[0], seed=0, split="test")
    assert config["train"]["steps"] % config["eval"]["every"] == 0
    longest = max(longer.TIMES) if plan.probes else 1
    table = config["model"]["position"].get("length", math.inf)
    assert table >= longest * config["task"].get("length", 1)


def test_the_control_asks_the_same_model_for_other_answers():
  for task in trained.FLOORS:
    for scheme in (*studies.TABLE, *studies.SHAW):
      free, tied = (
        study.point(studies.LAWS, "small", f"{name}, {scheme}", lr=1e-2, seed=0, split="test")
        for name in (task, f"{task} by the clock")
      )
      assert tied == free | {"task": free["task"] | {"absolute": True}}


# ---------------------------------------------------------------------------------------------------------------------
# The probe


@pytest.fixture(scope="module")
def subject():
  """An untrained decoder with a learned table, as if trained on rows of 6."""
  changes = {"model.kind": "gpt", "model.width": 8, "model.heads": 2, "eval.batch": 16, "eval.batches": 2, "seed": 7}
  changes |= {"task.kind": "previous", "task.length": 6, "model.position.kind": "learned", "model.position.length": 24}
  config = override.resolve(override.load("recall", changes))
  task = build.make("tasks", dict(config["task"]), package="train")
  model = initial.realize(lambda: build.model(config["model"], task.vocabulary))
  return Subject(model, model, task, config, lambda number: None)


def rows_of(one: Subject, times: int):
  """The rows that the probe should read, drawn here."""
  task = build.make("tasks", one.config["task"] | {"length": 6 * times}, package="train")
  root = jax.random.fold_in(jax.random.key(7), STREAMS["test"])
  return jax.jit(task.sample, static_argnums=1)(jax.random.fold_in(root, longer.FIRST + times // 2 - 1), 32)


def test_the_probe_scores_fresh_rows_of_twice_and_four_times_the_length(subject):
  found = longer.read(subject)
  assert set(found) == {"loss_2x", "accuracy_2x", "loss_4x", "accuracy_4x"} == set(longer.KEYS)
  for times in longer.TIMES:
    batch = rows_of(subject, times)
    assert batch.targets_BTR.shape == (32, 6 * times, 1)
    logits_BTV = np.asarray(jax.jit(answers)(*nnx.split(subject.model), batch))[:, 1:, 0].astype(np.float64)
    target_BT = np.asarray(batch.inputs.tokens_BTC[:, :-1, 0])  # of the task: the token before
    logp_BTV = logits_BTV - np.log(np.exp(logits_BTV).sum(-1, keepdims=True))
    assert found[f"loss_{times}x"] == pytest.approx(-np.take_along_axis(logp_BTV, target_BT[..., None], 2).mean())
    assert found[f"accuracy_{times}x"] == pytest.approx((logits_BTV.argmax(-1) == target_BT).mean())


def answers(graph, state, batch):
  return nnx.merge(graph, state)(batch.inputs)[0]


def test_the_probe_reads_rows_beyond_those_of_training_and_compiles_once(subject):
  before, compiled = longer.read(subject), longer._score._cache_size()
  model = nnx.clone(subject.model)
  table_PM = model.decoder.position.table[...]
  model.decoder.position.table[...] = jnp.asarray(table_PM).at[12:].multiply(100.0)  # beyond 2x
  after = longer.read(subject._replace(model=model))
  assert after["loss_2x"] == before["loss_2x"]
  assert abs(after["loss_4x"] - before["loss_4x"]) > 0.01
  assert longer._score._cache_size() == compiled


@pytest.mark.parametrize(
  ("section", "change", "told"),
  [
    ("task", {"kind": "memorize"}, "task.kind=memorize has none"),
    ("position", {"kind": "learned", "length": 23}, "position.length=23 ends before .* 24"),
  ],
)
def test_the_probe_refuses_what_it_cannot_read(subject, section, change, told):
  config = dict(subject.config)
  config |= {"task": change} if section == "task" else {"model": config["model"] | {"position": change}}
  with pytest.raises(Refused, match=told):
    longer.read(subject._replace(config=config))
