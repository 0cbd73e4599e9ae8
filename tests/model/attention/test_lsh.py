"""LSH attention against slow loops of the paper, its limits, its randomness, and who cannot see whom."""

import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from model.errors import Refused
from model.mask import Mask, Positions, causal, everything, rows, window
from tests.model import oracle
from tests.model.attention import cases, oracles_lsh

T, K, D, CHUNK, BUCKETS = 43, 2, 8, 8, 64
CASES = {  # (options, causal, a shift that turns the queries of the second row the same way)
  "one round, all of a row in one bucket": ({"rounds": 1}, False, 20.0),
  "four rounds": ({"rounds": 4, "buckets": BUCKETS}, True, 0.0),
  "two factors, whole chunks": ({"rounds": 4, "chunk": 2, "strict": False}, False, 0.0),
}


def positions():
  """Two rows: a long sequence, one that fits into a chunk, a middling one and padding; and one sequence."""
  pos = np.array([[*range(25), *range(6), *range(9), 0, 0, 0], [*range(T)]], np.int32)
  segment = np.array([[1] * 25 + [2] * 6 + [3] * 9 + [0] * 3, [1] * T], np.int32)
  return Positions(pos, segment)


def inputs(seed=0, dtype=np.float32, length=T):
  """Queries (B, T, K, 1, D) and values (B, T, K, D)."""
  q, _, v = cases.qkv(K, 1, queries=length, keys=length, seed=seed)
  return q.astype(dtype), v.astype(dtype)


def mechanism(**options):
  return cases.mechanism("lsh", K, 1, **{"chunk": CHUNK, **options})


def solve(*given):
  """Output and the gradients of sum(out * target) by the queries, which are the keys, and by the values."""
  return jax.device_get(_solve(*given))


@functools.partial(jax.jit, static_argnames="rule")
def _solve(made, q, v, positions, rule, target):
  def loss(q, v):
    out = made(q, q[:, :, :, 0], v, Mask(positions, positions, rule))[0]
    return (out.astype(jnp.float32) * target).sum(), out

  grads, out = jax.grad(loss, argnums=(0, 1), has_aux=True)(q, v)
  return out, *grads


@functools.partial(jax.jit, static_argnames=("rule", "method"))
def call(made, q, k, v, q_positions, k_positions, rule, method="over_cache"):
  return getattr(made, method)(q, k, v, Mask(q_positions, k_positions, rule))[0]


@functools.partial(jax.jit, static_argnames="columns")
def rotations(made, columns):
  return made.rotations(columns)


def slow(made, q, v, positions, is_causal, form):
  """An oracle over rows and heads; form(q, v, seen, buckets, segments) is one head of one row."""
  seen_BTS = oracle.seen(oracle.causal if is_causal else oracle.everything, *positions, *positions)
  halves = np.array(made.factors(q.shape[1])) // 2
  drawn_RKDF = np.asarray(rotations(made, int(halves.sum())), np.float64)
  out = np.zeros(q.shape)
  for b, head in np.ndindex(q.shape[0], q.shape[2]):
    matrices = [np.split(drawn_RKDF[r, head], halves.cumsum()[:-1], -1) for r in range(made.rounds)]
    q_TD, v_TD, segment_T = (
      np.asarray(a, np.float64) for a in (q[b, :, head, 0], v[b, :, head], positions.segment_BT[b])
    )
    bucket_RT = oracles_lsh.buckets(q_TD, segment_T, matrices, made.chunk)
    out[b, :, head, 0] = form(q_TD, v_TD, seen_BTS[b], bucket_RT, segment_T)
  return out


def slow_call(made, q, v, positions, is_causal):
  def form(q_TD, v_TD, seen_TS, bucket_RT, segment_T):
    if made.strict:
      return oracles_lsh.paper(q_TD, v_TD, seen_TS, bucket_RT, segment_T, made.chunk)
    pairs = oracles_lsh.reached(bucket_RT, segment_T, made.chunk, strict=False)
    return oracles_lsh.attend(q_TD, v_TD, seen_TS, pairs, once=False)[0]

  return slow(made, q, v, positions, is_causal, form)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_slow_loops(name):
  options, is_causal, shift = CASES[name]
  made, (q, v) = mechanism(**options), inputs()
  q[1] += np.float32(shift)
  if is_causal:  # the program that most tests here share
    out = solve(made, q, v, positions(), causal(), np.ones_like(q))[0]
    np.testing.assert_array_equal(out[0, [0, 25, 31], :, 0], v[0, [0, 25, 31]])  # nothing else to see: itself
  else:
    out = call(made, q, q[:, :, :, 0], v, positions(), positions(), everything(), "__call__")
  np.testing.assert_allclose(out, slow_call(made, q, v, positions(), is_causal), rtol=1e-5, atol=5e-6)
  assert (out[0, 40:] == 0).all()


def test_gradients_agree_with_the_slow_loops():
  made, (q, v) = mechanism(rounds=4, buckets=BUCKETS), inputs()
  rng = np.random.default_rng(1)
  target, by = rng.normal(size=q.shape), [1e-6 * rng.normal(size=a.shape) for a in (q, v)]
  _, *grads = solve(made, q, v, positions(), causal(), target.astype(np.float32))
  for i in range(2):
    sides = [slow_call(made, q + s * by[0] * (i == 0), v + s * by[1] * (i == 1), positions(), True) for s in (1, -1)]
    slope = ((sides[0] - sides[1]) / 2 * target).sum()
    assert slope == pytest.approx((grads[i] * by[i]).sum(), rel=1e-3)


def test_no_gradient_reaches_the_future_or_another_sequence():
  made, (q, v) = mechanism(rounds=4, buckets=BUCKETS), inputs()
  segment_BT = positions().segment_BT
  for t in range(T):
    target = np.zeros(q.shape, np.float32)
    target[:, t] = 1.0
    _, by_q, by_v = solve(made, q, v, positions(), causal(), target)
    for b in range(2):
      hidden_T = (np.arange(T) > t) | (segment_BT[b] != segment_BT[b, t]) | (segment_BT[b] == 0)
      assert (by_q[b, hidden_T] == 0).all()
      assert (by_v[b, hidden_T] == 0).all()
      assert segment_BT[b, t] == 0 or (by_v[b] != 0).any()


def test_the_efficient_path_is_the_definition_where_buckets_fit_into_chunks():
  made, (q, v), place = mechanism(rounds=4, buckets=BUCKETS), inputs(), positions()
  hashed = np.asarray(jax.jit(lambda made: made.hash(q[:, :, :, 0], place, place))(made))
  for b, segment in ((0, 1), (0, 2), (0, 3), (1, 1)):
    labels_KRT = hashed[b][..., place.segment_BT[b] == segment]
    assert max(np.bincount(row).max() for row in labels_KRT.reshape(-1, labels_KRT.shape[-1])) <= CHUNK
  efficient = solve(made, q, v, place, causal(), np.ones_like(q))[0]
  recalled = call(made, q, q[:, :, :, 0], v, place, place, causal())
  np.testing.assert_allclose(efficient, recalled, rtol=1e-5, atol=5e-6)
  form = lambda q, v, seen, buckets, _: oracles_lsh.attend(q, v, seen, oracles_lsh.definition(buckets), True)[0]  # noqa: E731
  np.testing.assert_allclose(recalled, slow(made, q, v, place, True, form), rtol=1e-5, atol=5e-6)


def test_the_order_of_a_cache_does_not_matter_and_empty_slots_are_not_seen():
  made, (q, v), place = mechanism(rounds=4, buckets=BUCKETS), inputs(), positions()
  order = np.random.default_rng(0).permutation(T)
  plain = call(made, q, q[:, :, :, 0], v, place, place, causal())
  mixed = call(made, q, q[:, :, :, 0][:, order], v[:, order], place, place.at(order), causal())
  np.testing.assert_allclose(mixed, plain, rtol=1e-5, atol=5e-6)


def test_a_row_of_one_chunk_is_dense_with_itself_as_last_resort():
  made, (q, v) = mechanism(chunk=64), inputs()
  for rule, spoken in ((causal(), oracle.causal), (everything(), oracle.everything)):
    out = call(made, q, q[:, :, :, 0], v, positions(), positions(), rule, "__call__")
    seen_BTS = oracle.seen(spoken, *positions(), *positions())
    np.testing.assert_allclose(out, oracles_lsh.lsh(made, q, q[:, :, :, 0], v, seen_BTS), rtol=1e-5, atol=5e-6)


def test_a_packed_sequence_that_fits_into_a_chunk_equals_itself_alone():
  made, (q, v) = mechanism(rounds=4, buckets=BUCKETS), inputs()
  out, *_ = solve(made, q, v, positions(), causal(), np.ones_like(q))
  seen_BTS = oracle.seen(oracle.causal, *rows(6), *rows(6))
  alone = oracles_lsh.lsh(made, q[:1, 25:31], q[:1, 25:31, :, 0], v[:1, 25:31], seen_BTS)
  np.testing.assert_allclose(out[:1, 25:31], alone, rtol=1e-5, atol=5e-6)


def test_more_rounds_reach_more_of_the_nearest_keys_as_the_definition_predicts():
  heads, rounds, buckets, length = 64, 8, 8, 48
  made = cases.mechanism("lsh", heads, 1, rounds=rounds, buckets=buckets)
  rng = np.random.default_rng(0)
  x_TD = rng.normal(size=(length, D))
  unit_TD = x_TD / np.linalg.norm(x_TD, axis=-1, keepdims=True)
  nearest_T = (unit_TD @ unit_TD.T - 2 * np.eye(length)).argmax(-1)
  x_BTKD = np.broadcast_to(x_TD[None, :, None].astype(np.float32), (1, length, heads, D))
  ours_KRT = np.asarray(jax.jit(lambda made: made.hash(x_BTKD, rows(length), rows(length)))(made))[0]
  turned = np.einsum("td,ndf->ntf", x_TD, rng.normal(size=(4000, D, buckets // 2)))
  theirs_NT = np.concatenate([turned, -turned], -1).argmax(-1)
  meets_T = (theirs_NT == theirs_NT[:, nearest_T]).mean(0)  # of one round, by drawing many
  met_KRT = np.maximum.accumulate(ours_KRT == ours_KRT[..., nearest_T], 1)
  share_R = met_KRT.mean((0, 2))
  assert (np.diff(share_R) > 0).all()
  np.testing.assert_allclose(share_R, [(1 - (1 - meets_T) ** (r + 1)).mean() for r in range(rounds)], atol=0.04)
  assert (ours_KRT.min(), ours_KRT.max()) == (0, buckets - 1)


def test_equal_directions_always_meet_and_opposite_ones_never():
  made, (q, _) = mechanism(rounds=8), inputs()
  hashed = jax.jit(lambda made, x: made.hash(x, rows(T), rows(T)))
  plain, longer, turned = (np.asarray(hashed(made, factor * q[:, :, :, 0])) for factor in (1.0, 3.0, -1.0))
  np.testing.assert_array_equal(plain, longer)
  assert (plain != turned).all()


def test_rotations_differ_between_rounds_and_heads_and_change_when_redrawn():
  made = mechanism(rounds=4, redraw=10)
  first = rotations(made, 8)
  assert first.shape == (4, K, D, 8)
  assert len(np.unique(np.asarray(first).round(6))) > 0.99 * first.size
  np.testing.assert_array_equal(rotations(mechanism(rounds=2, redraw=10), 8), first[:2])

  def after(made, steps):
    kept = made.seed[...]
    made.seed[...] = kept.at[2].set(steps)
    drawn = rotations(made, 8)
    made.seed[...] = kept
    return drawn

  np.testing.assert_array_equal(after(made, 9), first)
  assert (np.abs(after(made, 10) - first) > 0).mean() > 0.99
  fixed = mechanism(rounds=4)
  np.testing.assert_array_equal(after(fixed, 10**6), rotations(fixed, 8))


def test_the_number_of_buckets_follows_the_length_and_their_hashes_grow_with_its_root():
  for length, chunk, factors in (
    (17, 16, (2,)),
    (32, 16, (4,)),
    (64, 8, (16,)),
    (1024, 8, (16, 16)),
    (8192, 16, (32, 32)),
  ):
    assert mechanism(chunk=chunk).factors(length) == factors
  assert mechanism(buckets=6).factors(8192) == (6,)


def test_no_array_grows_with_the_square_of_the_length():
  def largest(length):
    made, (q, v) = mechanism(rounds=2), inputs(length=length)
    mask = Mask(rows(length), rows(length), causal())
    loss = jax.make_jaxpr(jax.grad(lambda q, v: made(q, q[:, :, :, 0], v, mask)[0].sum(), argnums=(0, 1)))
    return max(variable.aval.size for variable in variables(loss(q, v).jaxpr))

  assert largest(4096) <= 8 * largest(1024)  # the hashes grow with T to the power 1.5, in steps; squares would be 16
  assert largest(4096) < 2 * K * 4096**2 / 32


def variables(jaxpr):
  for equation in jaxpr.eqns:
    yield from equation.outvars
    for inner in jax.extend.core.jaxprs_in_params(equation.params):
      yield from variables(inner)


def test_bfloat16_and_huge_scores_stay_finite():
  made, (q, v) = mechanism(rounds=4, buckets=BUCKETS), inputs()
  exact, *_ = solve(made, q, v, positions(), causal(), np.ones_like(q))
  for result in solve(made, 1e4 * q, v, positions(), causal(), np.ones_like(q)):
    assert np.isfinite(result).all()
  half, *grads = solve(made, q.astype(jnp.bfloat16), v.astype(jnp.bfloat16), positions(), causal(), np.ones_like(q))
  assert half.dtype == jnp.bfloat16
  assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in grads)
  moved = np.abs(np.asarray(half, np.float32) - exact) > 0.1  # where rounding has changed a bucket
  assert moved.mean() < 0.05


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"buckets": 7}, "buckets=7"),
    ({"buckets": -2}, "buckets=-2"),
    ({"rounds": 0}, "rounds=0"),
    ({"chunk": 0}, "chunk=0"),
  ],
)
def test_numbers_out_of_range_are_refused(options, said):
  with pytest.raises(Refused, match=said):
    cases.build.make("attention", {"kind": "lsh", **options}, heads=2, head_dim=4)


def test_what_has_no_place_is_refused():
  made, (q, v) = mechanism(), inputs()
  mask = Mask(rows(T), rows(T), causal())
  for scheme in cases.terms(K, D).values():
    with pytest.raises(Refused, match="Lsh"):
      made(q, q[:, :, :, 0], v, mask, scheme)
  with pytest.raises(Refused, match="block=5"):
    made(q, q[:, :, :, 0], v, mask, block=5)
  with pytest.raises(Refused, match="rule"):
    made.check(rule=causal() & window(3))
