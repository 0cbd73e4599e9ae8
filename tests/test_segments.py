"""Segment memory (Transformer-XL): stretches one after another equal one row under the rule; no gradient flows back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import decode
from model.errors import Refused
from model.language import Inputs
from model.see import Where, rows
from tests import tiny

T = 10
OPTIONS = {"segment": 4, "memory": 3, "position": {"kind": "xl"}}
EARLIER = {t: range(max(0, t // 4 * 4 - 3), t // 4 * 4) for t in range(T)}  # remembered by the stretch of t


def made(**options):
  return tiny.model("gpt", **{**OPTIONS, **options})


def row(length=T, start=0, seed=0):
  tokens = np.random.default_rng(seed).integers(0, tiny.SYMBOLS, (2, T, 1)).astype(np.int32)
  return Inputs(tokens[:, start : start + length], rows(length, start))


@pytest.mark.parametrize(
  "options", [{}, {"wiring": {"norm": "post"}, "position": {"kind": "rope"}}, {"memory": 0}], ids=str
)
def test_stretches_equal_the_whole_row_under_the_rule(options):
  model = made(**options)
  by_stretches, _ = model(row())
  under_the_rule, _ = model(row(), record=[])  # records need the row in one piece
  np.testing.assert_allclose(by_stretches, under_the_rule, atol=2e-5)


def test_memory_is_read_but_carries_no_gradient():
  model = made(depth=1)

  def logits(x_BTM):
    return model.decoder(x_BTM, rows(T))[0][0] @ np.arange(16.0)  # a plain sum is what the last norm takes away

  x_BTM = jnp.asarray(np.random.default_rng(1).normal(size=(1, T, 16)), jnp.float32)
  moved_TS = np.abs(jax.jacobian(logits)(x_BTM)[:, 0]).max(-1) > 1e-5
  far = x_BTM.at[0, 2, 3].add(1.0)
  changed_T = np.abs(logits(far) - logits(x_BTM)) > 1e-4
  for t in range(T):
    own = range(t // 4 * 4, t + 1)
    assert list(np.flatnonzero(moved_TS[t])) == list(own)  # gradient: this stretch only
    assert changed_T[t] == (2 in own or 2 in EARLIER[t])  # value: what is remembered too


def test_a_row_in_two_calls_equals_one_call():
  model = made()
  whole, _ = model(row())
  carry = model.remember(2)
  first, carry = model(row(4), carry=carry)
  second, _ = model(row(6, start=4), carry=carry)
  np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=2e-5)


def test_every_leaf_of_the_memory_has_the_batch_first():
  _, carry = made()(row(), carry=made().remember(2))
  assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {2}
  assert {leaf.shape[1] for leaf in jax.tree.leaves(carry)} == {3}


def test_decoding_obeys_the_rule():
  model = made(depth=1)
  prompt = np.random.default_rng(3).integers(1, tiny.SYMBOLS, (2, 5, 1)).astype(np.int32)
  tokens = decode.greedy(model, prompt, rows(5), stop=0, length=6)
  seen = prompt
  for step in range(6):
    logits, _ = model(Inputs(seen, rows(5 + step)))
    best = np.asarray(logits[:, -1, 0].argmax(-1))
    done = (np.asarray(tokens)[:, :step] == 0).any(1)
    np.testing.assert_array_equal(np.where(done, 0, best), tokens[:, step])
    seen = np.concatenate([seen, np.asarray(tokens)[:, step, None, None]], 1)


def test_padding_at_the_end_changes_nothing():
  model, short = made(), row(6)
  tokens = np.pad(short.tokens_BTC, ((0, 0), (0, 4), (0, 0)))
  where = Where(np.pad(short.where.pos_BT, ((0, 0), (0, 4))), np.pad(short.where.segment_BT, ((0, 0), (0, 4))))
  np.testing.assert_allclose(model(Inputs(tokens, where))[0][:, :6], model(short)[0], atol=2e-5)


def test_memory_without_segments_is_refused():
  with pytest.raises(Refused, match=r"model\.segment"):
    made(segment=0)
  with pytest.raises(Refused, match=r"model\.segment=0"):
    made(segment=0, memory=0).remember(2)
