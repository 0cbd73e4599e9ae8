"""Relative schemes against loops from the papers, their invariances, and equal answers dense, by blocks and cached."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import build
from model.errors import Refused
from model.initial import realize
from model.mask import Mask, Positions, causal, everything, rows
from model.position.alibi import slopes
from model.position.t5 import borders
from tests.model import oracle

B, T, S, K, G, D, V = 2, 5, 7, 2, 2, 6, 6
RELATIVE = {
  "rope": {},
  "alibi": {},
  "t5": {"buckets": 8, "reach": 12},
  "shaw": {"clip": 2},
  "xl": {"reach": 16},
}
HOOKS = {"rope": ["rotate"], "alibi": ["after"], "t5": ["after"], "shaw": ["inside", "values"], "xl": ["inside"]}


def scheme(kind, heads=K * G, head_dim=D, seed=0, **options):
  made = realize(
    lambda: build.make("position", {"kind": kind, **options}, width=24, heads=heads, head_dim=head_dim), seed
  )
  if kind == "t5":  # its table starts at zero
    made.table[...] = jax.random.normal(jax.random.key(seed), made.table[...].shape)
  if kind == "xl":  # and so do its two vectors
    for index, vector in enumerate((made.content, made.distance)):
      vector[...] = jax.random.normal(jax.random.key(seed + index + 1), vector[...].shape)
  return made


def random(*shape, seed=0):
  return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def attention(position, q_start=0, k_start=0, rule=None, block=None):
  """Dot-product attention of fixed contents at the given positions."""
  dot = realize(lambda: build.make("attention", {"kind": "dot"}, heads=K * G, head_dim=D, layer=0))
  q, k, v = random(B, T, K, G, D, seed=1), random(B, S, K, D, seed=2), random(B, S, K, V, seed=3)
  mask = Mask(rows(T, q_start), rows(S, k_start), rule or everything())
  q = position.rotate(q.reshape(B, T, K * G, D), mask.q).reshape(q.shape)
  return dot(q, position.rotate(k, mask.k), v, mask, position, block=block)


@pytest.mark.parametrize("kind", RELATIVE)
def test_each_acts_where_its_paper_says(kind):
  made = scheme(kind, **RELATIVE[kind])
  assert [hook for hook in ("embed", "rotate", "inside", "after", "values") if made.acts(hook)] == HOOKS[kind]


@pytest.mark.parametrize("kind", RELATIVE)
def test_a_common_shift_of_all_positions_changes_nothing(kind):
  made = scheme(kind, **RELATIVE[kind])
  for moved in (1, 40, 1000):
    for there, here in zip(attention(made, moved, moved), attention(made), strict=True):
      np.testing.assert_allclose(there, here, rtol=2e-3, atol=2e-4)  # angles of some thousand radians in float32


@pytest.mark.parametrize("kind", RELATIVE)
def test_a_shift_of_the_keys_alone_changes_the_answer(kind):
  made = scheme(kind, **RELATIVE[kind])
  assert np.abs(attention(made, 0, 3)[0] - attention(made)[0]).max() > 1e-3


@pytest.mark.parametrize("kind", RELATIVE)
@pytest.mark.parametrize("rule", [everything(), causal()])
def test_blocks_of_keys_give_the_same_values_and_gradients(kind, rule):
  made = scheme(kind, **RELATIVE[kind])

  def total(q_TD, block):
    dot = realize(lambda: build.make("attention", {"kind": "dot"}, heads=K * G, head_dim=D, layer=0))
    q = made.rotate(q_TD.reshape(B, T, K * G, D), rows(T, 2)).reshape(B, T, K, G, D)
    k = made.rotate(random(B, S, K, D, seed=2), rows(S))
    out, _ = dot(q, k, random(B, S, K, V, seed=3), Mask(rows(T, 2), rows(S), rule), made, block=block)
    return (out * random(*out.shape, seed=4)).sum()

  q = random(B, T, K, G, D, seed=1)
  for block in (2, 3):
    for one, other in zip(jax.value_and_grad(total)(q, block), jax.value_and_grad(total)(q, None), strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", RELATIVE)
def test_order_in_memory_does_not_count_only_positions_do(kind):
  """As in a ring cache: keys in another order with their positions."""
  made, order = scheme(kind, **RELATIVE[kind]), np.random.default_rng(0).permutation(S)
  dot = realize(lambda: build.make("attention", {"kind": "dot"}, heads=K * G, head_dim=D, layer=0))
  q, k, v = random(B, T, K, G, D, seed=1), random(B, S, K, D, seed=2), random(B, S, K, V, seed=3)
  q = made.rotate(q.reshape(B, T, K * G, D), rows(T)).reshape(q.shape)
  k = made.rotate(k, rows(S))
  straight, _ = dot(q, k, v, Mask(rows(T), rows(S), causal()), made)
  moved = Positions(np.arange(S)[None, order], np.ones((1, S), np.int32))
  rotated, _ = dot(q, k[:, order], v[:, order], Mask(rows(T), moved, causal()), made)
  np.testing.assert_allclose(straight, rotated, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("base", [10000.0, 20.0])
def test_rope_equals_complex_rotation(base):
  made, x = scheme("rope", base=base), random(B, T, 3, D)
  pos_BT = np.array([[0, 1, 2, 3, 40], [9, 9, 0, 1, 5]])
  turned = made.rotate(x, Positions(pos_BT, np.ones_like(pos_BT)))
  for b, t, h in np.ndindex(B, T, 3):
    np.testing.assert_allclose(turned[b, t, h], oracle.rotated(x[b, t, h], pos_BT[b, t], base), atol=1e-5)


@given(a=st.integers(0, 500), b=st.integers(0, 500), shift=st.integers(0, 500))
def test_rope_products_depend_on_distance_alone_and_norms_stay(a, b, shift):
  made, x = scheme("rope"), random(1, 1, 1, D, seed=5)
  y = random(1, 1, 1, D, seed=6)
  turn = lambda v, p: np.asarray(made.rotate(v, rows(1, p))).ravel()  # noqa: E731
  one, other = turn(x, a) @ turn(y, b), turn(x, a + shift) @ turn(y, b + shift)
  np.testing.assert_allclose(one, other, atol=2e-3)
  np.testing.assert_allclose(np.linalg.norm(turn(x, a)), np.linalg.norm(x), rtol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_alibi_slopes_of_a_power_of_two(heads):
  np.testing.assert_allclose(slopes(heads), [oracle.alibi_slope(h, heads) for h in range(heads)], rtol=1e-6)


@given(heads=st.integers(1, 40))
def test_alibi_slopes_are_distinct_shares_of_one(heads):
  found = slopes(heads)
  assert len(set(found.tolist())) == heads
  assert (found > 0).all()
  assert (found < 1).all()


@pytest.mark.parametrize("ahead", [0.0, 0.5, 1.0])
def test_alibi_is_linear_in_distance_on_either_side(ahead):
  term_BHTS = scheme("alibi", ahead=ahead).after(rows(4, 3), rows(9))
  for h, t, s in np.ndindex(K * G, 4, 9):
    distance = (t + 3) - s
    expected = -oracle.alibi_slope(h, K * G) * (distance if distance >= 0 else -ahead * distance)
    np.testing.assert_allclose(term_BHTS[0, h, t, s], expected, rtol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (8, 12), (12, 100), (4, 3), (64, 4096)])
def test_t5_buckets_equal_the_rule(buckets, reach, bidirectional):
  made = scheme("t5", buckets=buckets, reach=reach, bidirectional=bidirectional)
  near = np.arange(-3 * min(reach, 128), 3 * min(reach, 128) + 1)
  borders = np.array([sign * (b + step) for b in made.borders for step in (-1, 0) for sign in (-1, 1)], int)
  ahead = np.concatenate([near, borders, [-(10**6), 10**6]])
  expected = [oracle.t5_bucket(int(d), buckets, reach, bidirectional) for d in ahead]
  found = np.asarray(made.bucket(jnp.asarray(ahead)))
  np.testing.assert_array_equal(found, expected)
  assert set(found.tolist()) == set(range(buckets)) - ({buckets // 2} if bidirectional else set())


@given(single=st.integers(1, 24), more=st.integers(1, 5000), distance=st.integers(0, 6000))
def test_t5_borders_stand_where_whole_numbers_put_them(single, more, distance):
  """A logarithm in float32 puts distance 20 of 8 buckets up to 200 one too low."""
  reach = single + more
  found = borders(2 * single, reach)
  assert len(found) == single - 1
  assert list(found) == sorted(found)
  wide = single + sum(distance >= border for border in found)
  assert (distance if distance < single else wide) == oracle.t5_bucket(-distance, 2 * single, reach, False)


def test_t5_puts_a_distance_on_a_border_into_the_bucket_that_begins_there():
  assert scheme("t5", buckets=8, reach=200).bucket(np.array([-19, -20, 20])).tolist() == [2, 3, 7]


def test_t5_adds_the_bias_of_the_bucket():
  made = scheme("t5", buckets=8, reach=12)
  term_BHTS = made.after(rows(3, 5), rows(20))
  for h, t, s in np.ndindex(K * G, 3, 20):
    assert term_BHTS[0, h, t, s] == made.table[...][oracle.t5_bucket(s - t - 5, 8, 12, True), h]


@pytest.mark.parametrize("start", [0, 4])
def test_shaw_equals_the_loop(start):
  made = scheme("shaw", clip=2)
  out, _ = attention(made, start)
  q, k, v = random(B, T, K, G, D, seed=1), random(B, S, K, D, seed=2), random(B, S, K, V, seed=3)
  tables = np.asarray(made.key[...]), np.asarray(made.value[...])
  for b, h, g in np.ndindex(B, K, G):
    expected = oracle.shaw_attention(
      q[b, :, h, g], k[b, :, h], v[b, :, h], *tables, 2, start + np.arange(T), np.arange(S)
    )
    np.testing.assert_allclose(out[b, :, h, g], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("start", "reach"), [(0, 16), (4, 16), (4, 3)])
def test_xl_equals_the_loop(start, reach):
  made = scheme("xl", reach=reach)
  out, _ = attention(made, start)
  q, k, v = random(B, T, K, G, D, seed=1), random(B, S, K, D, seed=2), random(B, S, K, V, seed=3)
  for b, h, g in np.ndindex(B, K, G):
    numbers = [np.asarray(a[...])[..., h * G + g, :] for a in (made.kernel, made.content, made.distance)]
    expected = oracle.xl_attention(
      q[b, :, h, g], k[b, :, h], v[b, :, h], *numbers, reach, start + np.arange(T), np.arange(S)
    )
    np.testing.assert_allclose(out[b, :, h, g], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("kind", "options", "match"),
  [
    ("rope", {"head_dim": 5}, "even"),
    ("rope", {"base": 1.0}, "10000"),
    ("alibi", {"ahead": -1.0}, "from 0 up"),
    ("alibi", {"ahead": math.nan}, "from 0 up"),
    ("t5", {"buckets": 6}, "multiple of 4"),
    ("t5", {"buckets": 0}, "multiple of 4"),
    ("t5", {"buckets": 32, "reach": 8}, "raise it"),
    ("t5", {"reach": 2**31}, "longer than any row"),
    ("shaw", {"clip": 0}, "at least 1"),
    ("xl", {"reach": 0}, "at least 1"),
  ],
)
def test_bad_options_are_refused_in_one_line(kind, options, match):
  with pytest.raises(Refused, match=match) as caught:
    scheme(kind, **options)
  assert "\n" not in str(caught.value)


def test_additive_attention_has_no_place_inside():
  additive = realize(lambda: build.make("attention", {"kind": "additive"}, heads=4, head_dim=D, layer=0))
  with pytest.raises(Refused, match="Shaw"):
    additive.check(scheme("shaw"))
