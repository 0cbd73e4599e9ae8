"""Dropout on attention weights: what torch does with them, in every mechanism and on every path that has weights."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from model import build, initial
from model.dropout import Dropout
from model.errors import Refused
from model.heads import Heads
from model.kernels import tiles
from model.language import Inputs
from model.mask import causal, everything, rows
from model.vocabulary import Vocabulary
from tests.model import tiny
from tests.model.attention import cases

RATE, LENGTH, K, D = 0.3, 64, 2, 8
# Rows of 64 are longer than what one query sees in these, so that they take their own paths.
OPTIONS = {
  "banded": {"window": 4},
  "block_sparse": {"block_size": 4, "random": 1},
  "lsh": {"rounds": 1, "chunk": 8},
}
PLACES = [(kind, block) for kind in cases.able(dropout=True) for block in cases.paths(kind)]


def dropping(kind, **options):
  """A mechanism that loses weights, and the same without."""
  made = cases.mechanism(kind, K, 1, **{**OPTIONS.get(kind, {}), **options})
  losing: Any = nnx.clone(made)
  losing.weights_dropout = Dropout(RATE)
  return losing, made


@functools.cache
def given(kind, views=1) -> Any:
  """Values are unit vectors, one per key: what comes out are the weights."""
  q, k, _ = cases.given(kind, K, 1, queries=LENGTH, keys=LENGTH)
  v = np.broadcast_to(np.eye(LENGTH, dtype=np.float32)[None, :, None], (2, LENGTH, K, LENGTH))
  return (q, k, v) if views == 1 else tuple((side,) * views for side in (q, k, v))


def mask(rule=None):
  return cases.self_mask(rows(LENGTH), everything() if rule is None else rule)


@functools.partial(jax.jit, static_argnames="block")
def outputs(made, qkv, who, key, block=None):
  return made(*qkv, who, block=block, key=key)[0]


def check_lost(lost, clean, rate=RATE):
  """Of the weights a share of `rate` is 0, the others are clean / (1 - rate)."""
  there = np.abs(clean) > 1e-6
  is_lost = np.abs(lost) < 1e-9
  kept = there & ~is_lost
  np.testing.assert_allclose(lost[kept], clean[kept] / (1 - rate), rtol=2e-4, atol=1e-7)
  share, count = (is_lost & there).sum() / there.sum(), there.sum()
  assert abs(share - rate) < 5 * (rate * (1 - rate) / count) ** 0.5
  return is_lost


@pytest.mark.parametrize(("kind", "block"), [place for place in PLACES if place[0] != "differential"])
def test_weights_are_lost_or_grow_by_what_was_lost(kind, block):
  losing, made = dropping(kind)
  who = mask(causal()) if kind == "lsh" else mask()
  clean, (one, again, other) = (
    np.asarray(outputs(made, given(kind), who, None, block)),
    (np.asarray(outputs(losing, given(kind), who, jax.random.key(n), block)) for n in (0, 0, 1)),
  )
  masks = [check_lost(lost, clean) for lost in (one, other)]
  np.testing.assert_array_equal(one, again)
  assert (masks[0] != masks[1]).any()
  np.testing.assert_array_equal(np.asarray(outputs(losing, given(kind), who, None, block)), clean)


def test_torch_loses_weights_alike():
  """The same numbers, checked by the same test, from scaled_dot_product_attention."""
  q, k, v = (torch.tensor(np.moveaxis(a, 1, 2).copy()) for a in (given("dot")[0][:, :, :, 0], *given("dot")[1:]))
  torch.manual_seed(0)
  attend = torch.nn.functional.scaled_dot_product_attention
  clean, lost = (attend(q, k, v, dropout_p=rate).numpy() for rate in (0.0, RATE))
  check_lost(lost, clean)
  losing, made = dropping("dot")
  ours = [np.asarray(outputs(m, given("dot"), mask(), jax.random.key(0)))[:, :, :, 0] for m in (made, losing)]
  np.testing.assert_allclose(np.moveaxis(ours[0], 1, 2), clean, atol=2e-6)
  check_lost(ours[1], ours[0])


def test_the_mean_over_many_keys_is_the_output_of_evaluation():
  losing, made = dropping("dot")
  q, k, v = cases.given("dot", K, 1)
  who, n = cases.self_mask(cases.packed()), 2000
  run = jax.jit(jax.vmap(lambda key: losing(q, k, v, who, key=key)[0]))
  found = np.asarray(run(jax.random.split(jax.random.key(0), n)))
  error = found.std(0) / n**0.5
  assert (np.abs(found.mean(0) - np.asarray(made(q, k, v, who)[0])) < 6 * error + 1e-5).all()


def test_blocks_and_tiles_lose_weights_of_their_own():
  made, _ = dropping("dot")
  lost = np.asarray(outputs(made, given("dot"), mask(), jax.random.key(0), 8)) == 0
  first, *others = np.split(lost, LENGTH // 8, -1)
  assert all((first != other).any() for other in others)
  for kind in ("banded", "block_sparse"):
    lost = np.asarray(outputs(dropping(kind)[0], given(kind), mask(), jax.random.key(0))) == 0
    own_BTK = np.diagonal(lost[:, :, :, 0], axis1=1, axis2=3)  # of each token on itself, which all see
    blocks = np.split(own_BTK, LENGTH // 16, -1)
    assert all((blocks[0] != other).any() for other in blocks[1:])


@pytest.mark.parametrize("kind", ["banded", "block_sparse"])
def test_scanned_tiles_lose_what_tiles_at_once_lose_and_their_gradients_agree(kind, monkeypatch):
  losing, _ = dropping(kind)
  target = np.random.default_rng(0).normal(size=(2, LENGTH, K, 1, LENGTH)).astype(np.float32)

  def solve(step):
    monkeypatch.setitem(tiles.STEP, "cpu", step)
    loss = lambda qkv: (losing(*qkv, mask(), key=jax.random.key(3))[0] * target).sum()  # noqa: E731
    return jax.device_get(jax.jit(jax.value_and_grad(loss))(given(kind)))

  at_once, scanned = solve(2**24), solve(2**9)
  for one, other in zip(jax.tree.leaves(at_once), jax.tree.leaves(scanned), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-4)


def test_global_tokens_and_their_readers_lose_weights():
  losing, made = dropping("banded", anchors=(0, 40))
  clean, lost = (np.asarray(outputs(m, given("banded", 2), mask(), jax.random.key(0))) for m in (made, losing))
  is_lost = check_lost(lost, clean)
  for rows_or_columns in (is_lost[:, 40], is_lost[..., 40]):
    assert rows_or_columns.any()
    assert not rows_or_columns.all()


def test_both_halves_of_a_differential_head_lose_the_same_weights():
  """So it is their difference that loses them; the norm behind it scales each row as a whole."""
  losing, made = dropping("differential")
  clean, lost = (np.asarray(outputs(m, given("differential"), mask(), jax.random.key(0))) for m in (made, losing))
  is_lost = np.abs(lost) < 1e-9
  assert abs(is_lost.mean() - RATE) < 0.02
  sizes = np.where(is_lost, np.nan, lost / np.where(np.abs(clean) > 1e-3, clean, np.nan))
  middle = np.nanmedian(sizes, -1, keepdims=True)
  assert np.nanmax(np.abs(sizes / middle - 1)) < 1e-2


@pytest.mark.parametrize("kind", cases.able(dropout=False))
def test_what_holds_no_weights_refuses_in_one_line(kind):
  heads = functools.partial(Heads, 16, heads=2, mechanism={"kind": kind})
  heads(dropout=0.0)
  with pytest.raises(Refused, match=r"holds no weights to drop: attention_dropout=0\.1") as caught:
    heads(dropout=0.1)
  assert "\n" not in str(caught.value)


def test_the_state_mechanisms_are_those_that_refuse():
  assert set(cases.able(dropout=False)) == {"linear", "performer"}


MODELS = {
  "bert": {"kind": "bert"},
  "gpt": {"kind": "gpt", "wiring": {"order": "p"}},
  "stretches": {"kind": "gpt", "segment": 2, "memory": 2},
  "seq2seq": {"kind": "seq2seq"},
  "rnn": {"kind": "rnn", "reads": "after"},
  "luong": {"kind": "rnn_seq2seq", "reads": "after"},
  "bahdanau": {"kind": "rnn_seq2seq", "reads": "before"},
}


@pytest.mark.parametrize("name", MODELS)
def test_training_loses_weights_in_every_model_and_evaluation_none(name):
  options = {"width": 16, "heads": 2, "depth": 1, **MODELS[name]}
  reads = "seq2seq" in options["kind"]
  vocabulary = Vocabulary((tiny.SYMBOLS,), tiny.SYMBOLS, 1, (tiny.SOURCES,) if reads else ())
  packed = tiny.inputs("seq2seq" if reads else "gpt", (4, 3), (3, 4))
  losing, plain = (
    tiny.realize(lambda rate=rate: build.model({**options, "attention_dropout": rate}, vocabulary))
    for rate in (0.5, 0.0)
  )
  names = [[path for path, _ in nnx.to_flat_state(nnx.state(made, nnx.Param))] for made in (losing, plain)]
  assert names[0] == names[1]
  run = jax.jit(lambda made, key: made(Inputs(*packed), key=key)[0])
  evaluated = run(plain, None)
  np.testing.assert_array_equal(run(losing, None), evaluated)
  np.testing.assert_allclose(run(plain, jax.random.key(0)), evaluated, atol=1e-5)
  one, again, other = (run(losing, jax.random.key(n)) for n in (0, 0, 1))
  np.testing.assert_array_equal(one, again)
  assert jnp.abs(one - evaluated).max() > 1e-3
  assert jnp.abs(one - other).max() > 1e-3


def test_the_rate_is_a_dial():
  made = nnx.eval_shape(
    lambda: build.model({"kind": "bert", "width": 8, "heads": 2, "depth": 1, "attention_dropout": 0.25}, VOCABULARY)
  )
  assert initial.dials(made)["encoder/layers/0/attention/mechanism/weights_dropout/rate"] == 0.25


VOCABULARY = Vocabulary((5,), 5, 1, ())
