"""The contract of every position scheme on disk: tiles, order, rows and blocks change nothing; shapes stay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import build
from model.errors import Refused
from model.mask import Mask, Positions, causal, everything
from model.position.scheme import Position
from tests.contract import contract, kinds
from tests.model import tiny

B, T, K, G, D = 2, 7, 2, 2, 6
M = 12
each_kind = pytest.mark.parametrize("kind", kinds("position"))
ORDER = np.random.default_rng(0).permutation(T)
# Two documents in a row, one of them not from its first position on; the other row is one document.
POSITIONS = Positions(
  np.array([[0, 1, 2, 3, 0, 1, 2], [3, 4, 5, 6, 7, 8, 9]], np.int32), np.array([[1] * 4 + [2] * 3, [1] * 7], np.int32)
)


@functools.cache
def scheme(kind, width=M, heads=K * G, head_dim=D):
  """A scheme whose parameters are none of them at rest."""
  return tiny.realize(lambda: build.make("position", {"kind": kind}, width=width, heads=heads, head_dim=head_dim))


@functools.cache
def dot():
  return tiny.realize(lambda: build.make("attention", {"kind": "dot"}, heads=K * G, head_dim=D, layer=0))


def row(seed=0):
  """Token vectors, and the matrices that make queries, keys and values of them."""
  draw = np.random.default_rng(seed).standard_normal
  maps = (draw((M, K, G, D)), draw((M, K, D)), draw((M, K, D)))
  return draw((B, T, M)).astype(np.float32), tuple(m.astype(np.float32) / M**0.5 for m in maps)


@functools.partial(jax.jit, static_argnames=("block", "rule"))
def attention(made, dot, x_BTM, maps, q_positions, k_positions, places, rule, block=None):
  """A layer of dot-product attention in which the scheme acts wherever it does; `places` of the tokens ask."""
  whole_BTM = made.embed(x_BTM, k_positions)
  asking_BTM = made.embed(x_BTM[:, places], q_positions)
  q = jnp.einsum("btm,mkgd->btkgd", asking_BTM, maps[0])
  k, v = (jnp.einsum("bsm,mkd->bskd", whole_BTM, m) for m in maps[1:])
  q = made.rotate(q.reshape(*q.shape[:2], K * G, D), q_positions).reshape(q.shape)
  return dot(q, made.rotate(k, k_positions), v, Mask(q_positions, k_positions, rule), made, block=block)[0]


def answers(made, x_BTM, maps, positions=POSITIONS, places=None, rule=None, block=None):
  places = np.arange(T) if places is None else places
  asking = Positions(*(a[:, places] for a in positions))
  return np.asarray(attention(made, dot(), x_BTM, maps, asking, positions, places, rule or causal(), block))


@contract
@each_kind
def test_it_is_a_position_and_keeps_shape_and_dtype(kind):
  made = scheme(kind, 8, 2, 4)
  assert isinstance(made, Position)
  positions = Positions(*(a[:1, :5] for a in POSITIONS))
  for dtype in (np.float32, jnp.bfloat16):
    y = jax.eval_shape(made.embed, jax.ShapeDtypeStruct((2, 5, 8), dtype), positions)
    assert (y.shape, y.dtype) == ((2, 5, 8), dtype)
    y = jax.eval_shape(made.rotate, jax.ShapeDtypeStruct((2, 5, 3, 4), dtype), positions)
    assert (y.shape, y.dtype) == ((2, 5, 3, 4), dtype)


@contract
@each_kind
def test_unknown_options_are_refused(kind):
  with pytest.raises(Refused, match="no_such_option"):
    build.make("position", {"kind": kind, "no_such_option": 1}, width=8, heads=2, head_dim=4)


@contract
@each_kind
@pytest.mark.parametrize("rule", [causal(), everything()])
def test_blocks_of_keys_give_the_same_answers(kind, rule):
  made, (x_BTM, maps) = scheme(kind), row()
  whole = answers(made, x_BTM, maps, rule=rule)
  assert np.isfinite(whole).all()
  np.testing.assert_allclose(answers(made, x_BTM, maps, rule=rule, block=3), whole, rtol=1e-4, atol=1e-5)


@contract
@each_kind
def test_queries_alone_get_the_answers_they_get_together(kind):
  """As in decoding, which asks for one token at a time over a cache of keys."""
  made, (x_BTM, maps) = scheme(kind), row()
  whole = answers(made, x_BTM, maps)
  for t in (0, 5):
    np.testing.assert_allclose(answers(made, x_BTM, maps, places=np.array([t])), whole[:, [t]], rtol=1e-4, atol=1e-5)


@contract
@each_kind
def test_order_in_memory_does_not_count_only_positions_do(kind):
  made, (x_BTM, maps) = scheme(kind), row()
  moved = answers(made, x_BTM[:, ORDER], maps, Positions(*(a[:, ORDER] for a in POSITIONS)))
  np.testing.assert_allclose(moved, answers(made, x_BTM, maps)[:, ORDER], rtol=1e-4, atol=1e-5)


@contract
@each_kind
def test_packed_rows_equal_rows_alone(kind):
  made, (x_BTM, maps) = scheme(kind), row()
  packed, second = answers(made, x_BTM, maps), slice(4, 7)
  alone = Positions(*(np.concatenate([a[:, second]] * 3, 1)[:, :T] for a in POSITIONS))
  alone = Positions(alone.pos_BT, np.array([[1] * 3 + [0] * 4] * 2, np.int32))  # what follows is padding
  again_BTM = np.concatenate([x_BTM[:, second]] * 3, 1)[:, :T]
  np.testing.assert_allclose(answers(made, again_BTM, maps, alone)[0, :3], packed[0, second], rtol=1e-4, atol=1e-5)


@contract
@each_kind
def test_a_row_depends_on_no_other_row_of_its_batch(kind):
  made, (x_BTM, maps) = scheme(kind), row()
  changed = np.concatenate([x_BTM[:1], 1 - 2 * x_BTM[1:]])
  elsewhere = Positions(np.concatenate([POSITIONS.pos_BT[:1], POSITIONS.pos_BT[1:] + 2]), POSITIONS.segment_BT)
  one, other = answers(made, x_BTM, maps)[0], answers(made, changed, maps, elsewhere)[0]
  assert np.abs(one - other).max() < 1e-6, "the output of row 0 changes when only row 1 of the batch does"


@contract
@each_kind
def test_no_answer_depends_on_a_later_token(kind):
  made, (x_BTM, maps) = scheme(kind), row()
  whole = answers(made, x_BTM, maps)
  for t in (3, 6):
    later = x_BTM.copy()
    later[:, t:] *= -1
    change = np.abs(answers(made, later, maps) - whole)[:, :t]
    assert change.max() < 1e-6, f"outputs before token {t} change when only tokens from {t} on do"


@contract
@each_kind
def test_turning_keeps_lengths(kind):
  made, x = scheme(kind), row()[0].reshape(B, T, 2, D)
  lengths = np.linalg.norm(np.asarray(made.rotate(x, POSITIONS)), axis=-1)
  np.testing.assert_allclose(lengths, np.linalg.norm(x, axis=-1), rtol=1e-5)
