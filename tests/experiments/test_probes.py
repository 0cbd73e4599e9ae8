"""Probes on models whose answer is known: even attention, attention that looks at the right place, equal heads."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import override
from experiments.probes import entropy, look
from experiments.probes.subject import Subject
from model import build
from train import step
from train.state import STREAMS

SMALL = {"task.pairs": 5, "task.keys": 8, "task.values": 4, "task.queries": 3, "eval.batch": 32}


@cache
def config(**changes):
  settings = {name.replace("__", "."): value for name, value in changes.items()}
  return override.resolve(override.load("heads", SMALL | settings))


def subject(settings, model=None):
  """A subject whose trained model is the untrained one of seed 0, or `model`."""
  task = build.make("tasks", dict(settings["task"]), package="train")
  whole = step.ensemble(settings, task)
  untrained = whole.model(whole.init([settings]), whole.members([settings]), 0)
  key = jax.random.fold_in(jax.random.key(0), STREAMS["test"])
  batch = lambda number: task.sample(jax.random.fold_in(key, number), settings["eval"]["batch"], ())  # noqa: E731
  return Subject(model or nnx.clone(untrained), untrained, task, settings, batch)


def set_heads(one: Subject, **arrays):
  """Overwrites parameters of the first layer's heads."""
  heads = one.model.encoder.layers[0].attention
  for name, value in arrays.items():
    getattr(heads, name)[...] = jnp.broadcast_to(value, getattr(heads, name).shape)
  return heads


def look_up(one: Subject, gain: float):
  """Makes head r look exactly at the memory token whose key slot r asks for: orthogonal embeddings, no norm."""
  tables = one.model.embedding.tables
  width = tables[0].shape[1]
  keys, slots = tables[0].shape[0], len(tables) - 2
  for table in tables:
    table[...] = jnp.zeros(table.shape)
  tables[0][...] = jnp.eye(keys, width)
  for r in range(slots):
    tables[2 + r][...] = jnp.eye(keys, width, k=keys * (r + 1))
  heads = one.model.encoder.layers[0].attention
  select_DM = jnp.eye(keys, width)
  for r in range(slots):
    heads.query[:, r, 0] = gain * jnp.eye(keys, width, k=keys * (r + 1)).T
    heads.key[:, r] = select_DM.T
  return heads


def exact(relations=2):
  """A recall model of `relations` heads, width enough for one direction per key and slot, and no norm."""
  changes = {"task__relations": relations, "model__heads": relations, "model__width": 9 * (relations + 1)}
  return config(**changes, model__head_dim=9, model__wiring__norm="none")


def test_even_attention_has_the_entropy_of_all_keys():
  one = subject(config(task__relations=2))
  set_heads(one, query=0.0)
  numbers = entropy.read(one)
  assert numbers["entropy"] == pytest.approx(math.log(8), rel=1e-5)
  assert numbers["entropy_normalized"] == pytest.approx(1.0, rel=1e-5)
  assert numbers["entropy/encoder/0"] == numbers["entropy"]
  assert numbers["entropy_untrained"] < math.log(8)
  assert numbers["true_key_mass_best"] == pytest.approx(1 / 8, rel=1e-4)


def test_a_look_up_has_no_entropy_and_all_its_mass_on_the_asked_token():
  one = subject(exact())
  look_up(one, gain=300.0)
  numbers = entropy.read(one)
  assert numbers["entropy"] == pytest.approx(0.0, abs=1e-6)
  assert numbers["true_key_mass"] == pytest.approx(1.0, abs=1e-6)
  assert numbers["true_key_mass_best"] == pytest.approx(1.0, abs=1e-6)


def test_one_sharp_head_of_two_is_half_as_even():
  one = subject(exact())
  heads = look_up(one, gain=300.0)
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
  settings = override.resolve(override.load("heads", {"task.kind": task, "model.kind": kind, "eval.batch": 8}))
  one = subject(settings)
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
  settings = config(task__relations=2)
  entropy.read(subject(settings))
  before = entropy._numbers._cache_size()
  entropy.read(subject(settings))
  assert entropy._numbers._cache_size() == before


def test_asked_marks_one_token_per_slot_of_a_query():
  one = subject(config(task__relations=2))
  batch = one.batch(0)
  asked_BRTS = look.asked(batch)
  assert asked_BRTS.shape == (32, 2, 8, 8)
  assert (asked_BRTS[:, :, 5:].sum(-1) == 1).all()
  assert not asked_BRTS[:, :, :5].any()
  values_BRT = jnp.einsum("brts,bs->brt", asked_BRTS, batch.inputs.tokens_BTC[:, :, 1])
  assert (values_BRT[:, :, 5:] - 1 == batch.targets_BTR[:, 5:].transpose(0, 2, 1)).all()
