"""Rules against loops over positions; tiles against the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import Refused
from model.mask import EARLIER, OWN, Mask, Positions, anchors, causal, everything, marked, once, recent, rows, window
from tests.model import oracle

RULES = {
  "everything": (everything(), lambda q, k: True),
  "causal": (causal(), lambda q, k: k <= q),
  "window": (window(3), lambda q, k: abs(q - k) < 3),
  "anchors": (anchors(0, 4), lambda q, k: k in (0, 4)),
  "future": (~causal(), lambda q, k: k > q),
  "recent": (recent(3, 2), lambda q, k: q // 3 * 3 - 2 <= k < q // 3 * 3 + 3),
  "local or anchored": (causal() & window(2) | anchors(0), lambda q, k: (k <= q and abs(q - k) < 2) or k == 0),
}


def random_positions(rng, batch, length):
  return Positions(
    rng.integers(0, 8, (batch, length)).astype(np.int32), rng.integers(0, 3, (batch, length)).astype(np.int32)
  )


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.sampled_from((1, 5)), s=st.sampled_from((1, 7)))
def test_rules_agree_with_loops(name, seed, t, s):
  rng = np.random.default_rng(seed)
  rule, spoken = RULES[name]
  q, k = random_positions(rng, 2, t), random_positions(rng, 2, s)
  expected = oracle.seen(spoken, *q, *k)
  np.testing.assert_array_equal(np.broadcast_to(Mask(q, k, rule).tile(), expected.shape), expected)


def test_tiles_are_cut_from_the_whole():
  rng = np.random.default_rng(0)
  mask = Mask(
    random_positions(rng, 2, 9),
    random_positions(rng, 2, 11),
    causal() & window(4) | marked(),
    rng.random((2, 11)) < 0.3,
  )
  whole = mask.tile()
  np.testing.assert_array_equal(mask.tile(slice(2, 5), slice(4, 11)), whole[:, 2:5, 4:11])
  columns = np.array([1, 8, 3])
  np.testing.assert_array_equal(mask.tile(columns, slice(None)), whole[:, columns])


def test_segments_hold_under_every_rule():
  one, other = rows(4), Positions(np.arange(4)[None], np.full((1, 4), 2))
  empty = Positions(np.arange(4)[None], np.zeros((1, 4), int))
  for rule, _ in RULES.values():
    for q, k in ((one, other), (one, empty), (empty, empty), (empty, one)):
      assert not Mask(q, k, rule).tile().any()


def test_rules_depend_on_positions_not_on_places():
  rng = np.random.default_rng(1)
  order = rng.permutation(6)
  q, k = rows(6), rows(6)
  rule = causal() & window(3) | anchors(0)
  shuffled = Mask(q, k.at(order), rule).tile()
  np.testing.assert_array_equal(shuffled, Mask(q, k, rule).tile()[:, :, order])


def test_marked_keys_are_seen_and_need_a_mark():
  mark_BS = jnp.array([[True, False, False, True]])
  tile = Mask(rows(4), rows(4), marked(), mark_BS).tile()
  np.testing.assert_array_equal(tile, np.broadcast_to(np.asarray(mark_BS)[:, None], (1, 4, 4)))
  with pytest.raises(Refused, match="mark_BS"):
    Mask(rows(4), rows(4), marked()).tile()


def test_keys_that_stand_twice_are_seen_once():
  """Bits beside the mark by content: that is read as before."""
  twice = rows(6).at(np.tile(np.arange(6), 2))
  mark_BS = jnp.asarray(np.repeat([EARLIER, OWN | 1], 6)[None], jnp.int32)
  tile = np.asarray(Mask(rows(6), twice, causal() & once(2), mark_BS).tile()[0])
  np.testing.assert_array_equal(tile[:, :6] ^ tile[:, 6:], np.tri(6, dtype=bool))
  own = np.arange(6)[:, None] // 2 == np.arange(6) // 2
  assert not (tile[:, :6] & own).any()
  assert not (tile[:, 6:] & ~own).any()
  np.testing.assert_array_equal(Mask(rows(6), twice, marked(), mark_BS).tile()[0, 0], np.repeat([False, True], 6))
  assert Mask(rows(6), rows(6), once(2)).tile().all()  # nothing stands twice


def test_rows_are_static_unless_the_start_is_traced():
  assert isinstance(rows(3, 2).pos_BT, np.ndarray)
  np.testing.assert_array_equal(rows(3, 2).pos_BT, [[2, 3, 4]])
  np.testing.assert_array_equal(jax.jit(lambda start: rows(3, start).pos_BT)(2), [[2, 3, 4]])


def test_a_see_is_a_pytree_with_a_static_rule():
  mask = Mask(rows(3), rows(5), causal())
  assert len(jax.tree.leaves(mask)) == 4
  np.testing.assert_array_equal(jax.jit(lambda mask: mask.tile())(mask), mask.tile())
  assert hash(causal() & window(3)) == hash(causal() & window(3))
  assert causal() & window(3) == causal() & window(3) != causal() & window(4)


def test_static_positions_do_not_bake_a_table_into_the_program():
  program = jax.make_jaxpr(lambda: Mask(rows(64), rows(64), causal()).tile())()
  assert max((np.size(c) for c in program.consts), default=0) < 64 * 64


def test_an_empty_window_is_refused():
  with pytest.raises(Refused, match="width 0"):
    window(0)
