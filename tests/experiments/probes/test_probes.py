"""Probes on models whose answer is known: even attention, attention that looks at the right place, equal heads."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import override
from experiments.probes import entropy, mutual_information, pruning, recording, similarity, subspaces
from experiments.probes.subject import Subject
from experiments.protocol import scales
from model import build
from model.errors import Refused
from train import step
from train.state import STREAMS

SMALL = {"task.pairs": 5, "task.keys": 8, "task.values": 4, "task.queries": 3, "eval.batch": 32}


@cache
def config(**changes):
  settings = {name.replace("__", "."): value for name, value in changes.items()}
  small = SMALL if "task.kind" not in settings else {}
  return override.resolve(override.load("heads", small | settings))


@cache
def untrained(**changes):
  """Task, sampler and the model of seed 0; building them is most of a test's time."""
  settings = config(**changes)
  task = build.make("tasks", dict(settings["task"]), package="train")
  whole = step.Ensemble(settings, task)
  model = whole.model(whole.init([settings]), whole.members([settings]), 0)
  key = jax.random.fold_in(jax.random.key(0), STREAMS["test"])
  sample = jax.jit(lambda number: task.sample(jax.random.fold_in(key, number), settings["eval"]["batch"], ()))
  return model, task, cache(sample)


def subject(**changes):
  """A subject whose trained model is a copy of the untrained one."""
  model, task, batch = untrained(**changes)
  return Subject(nnx.clone(model), model, task, config(**changes), batch)


def quiet(one: Subject):
  """Queries of zero in the first layer: attention is even."""
  heads = one.model.encoder.layers[0].attention
  heads.query[...] = jnp.zeros(heads.query.shape)


def told(probe, numbers):
  """The numbers, after a look whether the probe says that it reads these and no others."""
  known = scales.keys(probe)
  of_place = {key[:-1] for key in known if key.endswith("/*")}
  for name in numbers:
    place = scales.PLACE.search(name)
    assert name in known or (place and name[: place.start() + 1] in of_place), name
  for key in known:
    assert key in numbers or any(name.startswith(key[:-1]) for name in numbers if key.endswith("/*")), key
  return numbers


KEYS, VALUES = 9, 5  # symbols of a key or a value, 0 = none


def exact(relations=2, copies=1, gain=300.0):
  """A trained-like model that answers by look-up: head i reads slot i % relations, `copies` heads do the same work.

  Features: key | value | asked key of each slot | answer of each slot; no norm, nothing after attention.
  """
  width = (KEYS + VALUES) * (1 + relations)
  changes = {"task__relations": relations, "model__heads": relations * copies, "model__width": width}
  plain = {"model__wiring__norm": "none", "model__feedforward__kind": "none"}
  one = subject(**changes, **plain, model__head_dim=KEYS)
  slot = [KEYS + VALUES + KEYS * r for r in range(relations)]
  answer = [KEYS + VALUES + KEYS * relations + VALUES * r for r in range(relations)]
  for table, start in zip(one.model.embedding.tables, [0, KEYS, *slot], strict=True):
    table[...] = jnp.asarray(np.eye(*table.shape, k=start), jnp.float32)
  heads, arrays = one.model.encoder.layers[0].attention, {}
  for name in ("query", "key", "value", "out"):
    arrays[name] = np.zeros(getattr(heads, name).shape, np.float32)
  for h in range(relations * copies):
    own = h % relations
    arrays["query"][:, h, 0] = gain * np.eye(KEYS, width, k=slot[own]).T
    arrays["key"][:, h] = np.eye(KEYS, width).T
    arrays["value"][KEYS : KEYS + VALUES, h, :VALUES] = np.eye(VALUES)
    arrays["out"][h, 0, :VALUES, answer[own] : answer[own] + VALUES] = np.eye(VALUES)
  for name, array in arrays.items():
    getattr(heads, name)[...] = jnp.asarray(array)
  kernel = np.zeros(one.model.readout.kernel.shape, np.float32)
  for r, v in np.ndindex(relations, VALUES - 1):
    kernel[answer[r] + 1 + v, r * (VALUES - 1) + v] = 1.0
  one.model.readout.kernel[...] = jnp.asarray(kernel)
  return one


def test_even_attention_has_the_entropy_of_all_keys():
  one = subject(task__relations=2)
  quiet(one)
  numbers = entropy.read(one)
  assert numbers["entropy"] == pytest.approx(math.log(8), rel=1e-5)
  assert numbers["entropy_normalized"] == pytest.approx(1.0, rel=1e-5)
  assert numbers["entropy/encoder/0"] == numbers["entropy"]
  assert numbers["entropy_untrained"] < math.log(8)
  assert numbers["true_key_mass_best"] == pytest.approx(1 / 8, rel=1e-4)


def test_a_look_up_has_no_entropy_and_all_its_mass_on_the_asked_token():
  numbers = told("entropy", entropy.read(exact()))
  assert numbers["entropy"] == pytest.approx(0.0, abs=1e-6)
  assert numbers["true_key_mass"] == pytest.approx(1.0, abs=1e-6)
  assert numbers["true_key_mass_best"] == pytest.approx(1.0, abs=1e-6)


def test_one_sharp_head_of_two_is_half_as_even():
  one = exact()
  heads = one.model.encoder.layers[0].attention
  heads.query[:, 1] = jnp.zeros(heads.query.shape)[:, 1]
  numbers = entropy.read(one)
  assert numbers["entropy"] == pytest.approx(math.log(8) / 2, rel=1e-5)


def test_mass_on_the_true_key_against_loops():
  rng = np.random.default_rng(0)
  weights_BHTS = rng.dirichlet(np.ones(6), size=(5, 3, 4)).astype(np.float32)
  place_BRT = rng.integers(-1, 6, size=(5, 2, 4))  # -1 asks for nothing
  found = entropy.true_key(jnp.asarray(weights_BHTS), jax.nn.one_hot(place_BRT, 6, dtype=bool))
  masses, by_head = [], np.zeros((3, 2))
  for b, t in np.ndindex(5, 4):
    asked = {s for s in place_BRT[b, :, t].tolist() if s >= 0}
    masses += [weights_BHTS[b, :, t, sorted(asked)].sum(0).mean()] if asked else []
    for h, r in np.ndindex(3, 2):
      if (s := place_BRT[b, r, t]) >= 0:
        by_head[h, r] += weights_BHTS[b, h, t, s] / (place_BRT[:, r] >= 0).sum()
  assert found["true_key_mass"] == pytest.approx(np.mean(masses), rel=1e-5)
  assert found["true_key_mass_best"] == pytest.approx(by_head.max(0).mean(), rel=1e-5)


@pytest.mark.parametrize(("kind", "task"), [("gpt", "markov"), ("seq2seq", "copy")])
def test_entropy_counts_only_the_keys_that_a_place_can_see(kind, task):
  one = subject(task__kind=task, model__kind=kind, eval__batch=8)
  for stack in ("encoder", "decoder"):
    for block in getattr(one.model, stack).layers if hasattr(one.model, stack) else ():
      for heads in (block.attention, block.cross):
        if heads is not None:
          heads.query[...] = jnp.zeros(heads.query.shape)
  numbers = entropy.read(one)
  shares = {name: value for name, value in numbers.items() if name.startswith("entropy_normalized/")}
  assert len(shares) == (3 if kind == "seq2seq" else 1)
  assert all(value == pytest.approx(1.0, rel=1e-5) for value in shares.values())


def test_trials_of_one_cohort_share_what_a_probe_compiled():
  entropy.read(subject(task__relations=2))
  before = entropy._numbers._cache_size()
  entropy.read(subject(task__relations=2))
  assert entropy._numbers._cache_size() == before


def test_asked_marks_one_token_per_slot_of_a_query():
  one = subject(task__relations=2)
  batch = one.batch(0)
  asked_BRTS = recording.asked(batch)
  assert asked_BRTS.shape == (32, 2, 8, 8)
  assert (asked_BRTS[:, :, 5:].sum(-1) == 1).all()
  assert not asked_BRTS[:, :, :5].any()
  values_BRT = jnp.einsum("brts,bs->brt", asked_BRTS, batch.inputs.tokens_BTC[:, :, 1])
  assert (values_BRT[:, :, 5:] - 1 == batch.targets_BTR[:, 5:].transpose(0, 2, 1)).all()


def test_a_look_up_by_slots_is_fully_specialized_and_doubly_dissociated():
  numbers = told("mutual_information", mutual_information.read(exact(relations=3)))
  assert numbers["information"] == pytest.approx(1.0, abs=1e-5)
  assert numbers["information_untrained"] < 0.1
  assert numbers["own_drop"] == pytest.approx(0.75, abs=0.1)  # a silent head leaves one guess of four
  assert numbers["other_drop"] == 0.0


def test_even_heads_carry_no_information_about_relations():
  one = subject(task__relations=2)
  quiet(one)
  assert mutual_information.read(one)["information"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
  ("mass", "share"),
  [
    ([[1, 0], [0, 1]], 1.0),
    ([[0.2, 0], [0, 0.9]], 1.0),  # a weak head counts as much as a strong one
    ([[1, 0], [1, 0]], 0.0),
    ([[3, 1], [3, 1], [3, 1]], 0.0),
    ([[1, 0], [1, 0], [0, 1], [0, 1]], 1.0),
    ([[1, 0], [1, 1]], 1 - 3 / 4 * math.log(3) / math.log(2) + 1 / 2),  # H(r) - H(r|h) in bits
    ([[1, 2, 3]], 0.0),
    ([[0, 0], [0, 0]], 0.0),
  ],
)
def test_information_of_known_tables(mass, share):
  assert mutual_information.information(np.array(mass, float)) == pytest.approx(share, abs=1e-9)


def test_dissociation_separates_own_and_other_losses():
  lost_HR = np.array([[0.5, 0.1, 0.0], [0.2, 0.7, 0.3]])
  assert mutual_information.dissociation(lost_HR, np.array([0, 1])) == pytest.approx((0.6, 0.15))
  assert mutual_information.dissociation(lost_HR[:, :1], np.array([0, 0])) == pytest.approx((0.35, 0.0))


def test_equal_heads_share_subspace_and_output_and_half_of_them_can_go():
  one = exact(relations=1, copies=2)
  found = told("subspaces", subspaces.read(one))
  assert found["angle"] == pytest.approx(0.0, abs=0.1)
  assert found["distance"] == pytest.approx(0.0, abs=1e-5)
  assert found["used"] == pytest.approx(1.0, abs=1e-5)
  assert 0.8 < found["distance_untrained"] < 1.2
  assert similarity.read(one)["cka"] == pytest.approx(1.0, abs=1e-6)
  pruned = told("pruning", pruning.read(one))
  assert pruned["full"] == pruned["half"] == pruned["one"] == 1.0
  assert pruned["none"] < 0.4
  assert (pruned["needed"], pruned["needed_share"], pruned["drop_one/encoder/0"]) == (1, 0.5, 0.0)


def test_heads_of_different_slots_differ_and_all_are_needed():
  one = exact(relations=2)
  found = subspaces.read(one)
  assert found["used"] == pytest.approx(0.0, abs=1e-5)  # one set of keys, but the slots are orthogonal
  assert found["angle"] == pytest.approx(45.0, abs=0.1)  # 90 degrees between queries, 0 between keys
  alike = told("similarity", similarity.read(one))
  assert alike["cka"] < 0.1  # above 0 where both slots ask for the same token
  assert max(alike["cka"], alike["cka_mixed"]) < alike["cka_drawn"] < 1  # even attention gives all heads one mean
  pruned = pruning.read(one)
  assert pruned["full"] == 1.0
  assert pruned["drop_half"] == pytest.approx(0.375, abs=0.05)
  assert pruned["needed"] == 2


def test_pruning_keeps_one_head_per_relation_where_each_is_there_twice():
  pruned = pruning.read(exact(relations=2, copies=2))
  assert pruned["half"] == 1.0
  assert (pruned["needed"], pruned["needed_share"]) == (2, 0.5)
  assert pruned["one"] == pytest.approx(0.625, abs=0.05)


def test_principal_angles_of_known_planes():
  angle = math.radians(30)
  plane = jnp.eye(4)[:, :2]
  tilted = jnp.stack([plane[:, 0], math.cos(angle) * plane[:, 1] + math.sin(angle) * jnp.eye(4)[:, 2]], 1)
  found = subspaces.cosines(
    jnp.stack([plane, tilted @ jnp.array([[2.0, 1.0], [0.0, 3.0]])]), np.array([0]), np.array([1])
  )
  assert found[0] == pytest.approx([1.0, math.cos(angle)], abs=1e-6)


def test_cka_ignores_rotation_and_scale_and_is_small_for_unrelated_features():
  rng = np.random.default_rng(0)
  x_ND = rng.normal(size=(500, 6))
  rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  assert similarity.cka(x_ND, 3 * x_ND @ rotation + 5) == pytest.approx(1.0)
  assert similarity.cka(x_ND, rng.normal(size=(500, 6))) < 0.05
  assert similarity.cka(x_ND, np.ones((500, 3))) == 0.0


def test_a_single_head_has_no_pairs():
  one = exact(relations=1)
  assert subspaces.read(one) == {}
  assert similarity.read(one) == {}
  assert mutual_information.read(one)["information"] == 0.0
  assert pruning.read(one)["needed"] == 1


def test_probes_of_relations_refuse_other_tasks():
  with pytest.raises(Refused, match="recall only, not markov"):
    mutual_information.read(subject(task__kind="markov", model__kind="gpt", eval__batch=8))


def test_probes_leave_the_model_as_it_was():
  one = exact(relations=2)
  before = jax.tree.map(np.array, nnx.state(one.model))
  for probe in (entropy, mutual_information, subspaces, similarity, pruning):
    probe.read(one)
  jax.tree.map(np.testing.assert_array_equal, before, nnx.state(one.model))
