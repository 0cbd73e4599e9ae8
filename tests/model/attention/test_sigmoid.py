"""Sigmoid attention against slow loops: weights that do not compete, blocks, packing, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.errors import Refused
from model.mask import Mask, everything, rows
from tests.model import oracle
from tests.model.attention import cases, oracles_dense

rules = {"causal": (None, oracle.causal), "both ways": (everything(), oracle.everything)}


@functools.partial(jax.jit, static_argnames="block")
def solve(made, qkv, mask, target, block=None):
  """Output, weights and the gradients of sum(out * target) by q, k and v."""

  def loss(qkv):
    out_BTKGD, lse = made(*qkv, mask, block=block)
    assert lse is None
    return (out_BTKGD.astype(jnp.float32) * target).sum(), out_BTKGD

  grads, out_BTKGD = jax.grad(loss, has_aux=True)(tuple(qkv))
  return out_BTKGD, made.weights(*qkv[:2], mask), grads


@pytest.mark.parametrize(("grouping", "name"), [("mha", "causal"), ("gqa", "both ways"), ("mqa", "causal")])
def test_equals_the_slow_loops(grouping, name):
  kv_heads, groups = cases.GROUPINGS[grouping]
  (rule, spoken), positions = rules[name], cases.packed()
  made, qkv = cases.mechanism("sigmoid", kv_heads, groups, bias=0.5), cases.qkv(kv_heads, groups)
  seen_BTS = oracle.seen(spoken, *positions, *positions)
  out, weights, _ = jax.device_get(solve(made, qkv, cases.self_mask(positions, rule), np.ones_like(qkv[0])))
  np.testing.assert_allclose(out, oracles_dense.sigmoid(made, *qkv, seen_BTS), rtol=1e-5, atol=2e-6)
  np.testing.assert_allclose(weights, oracles_dense.sigmoid_weights(made, *qkv[:2], seen_BTS), rtol=1e-5, atol=2e-6)
  assert (out[0, 13:] == 0).all()


def test_the_papers_constant_is_the_same_for_all_queries_and_counts_no_padding():
  made, qkv, positions = cases.mechanism("sigmoid", 2, 2, length=64), cases.qkv(2, 2), cases.packed()
  seen_BTS = oracle.seen(oracle.causal, *positions, *positions)
  out, weights, _ = jax.device_get(solve(made, qkv, cases.self_mask(positions), np.ones_like(qkv[0])))
  np.testing.assert_allclose(out, oracles_dense.sigmoid(made, *qkv, seen_BTS), rtol=1e-5, atol=2e-6)
  np.testing.assert_allclose(weights, oracles_dense.sigmoid_weights(made, *qkv[:2], seen_BTS), rtol=1e-5, atol=2e-6)
  blockwise, _ = cases.run(made, qkv, cases.self_mask(positions), block=5)
  np.testing.assert_allclose(blockwise, out, rtol=1e-5, atol=2e-6)
  alone, _ = cases.run(made, [a[:1, 5:13] for a in qkv], cases.self_mask(rows(8)))
  np.testing.assert_allclose(out[:1, 5:13], alone, rtol=1e-5, atol=2e-6)
  whole, both = Mask(rows(16), rows(16), everything()), [cases.mechanism("sigmoid", 2, 2, length=n) for n in (16, 0)]
  seen = [cases.run(one, qkv, whole)[0] for one in both]  # n is the row's length where all of it is seen
  np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5, atol=2e-6)
  with pytest.raises(Refused, match="length=-1"):
    cases.mechanism("sigmoid", 2, 2, length=-1)


def test_gradients_agree_with_the_slow_loops():
  made, qkv, positions = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.packed()
  rng = np.random.default_rng(0)
  target, step = rng.normal(size=qkv[0].shape), [1e-4 * rng.normal(size=a.shape) for a in qkv]
  seen_BTS = oracle.seen(oracle.causal, *positions, *positions)
  *_, grads = jax.device_get(solve(made, qkv, cases.self_mask(positions), target.astype(np.float32)))
  sides = [
    (oracles_dense.sigmoid(made, *(a + s * d for a, d in zip(qkv, step, strict=True)), seen_BTS) * target).sum()
    for s in (1, -1)
  ]
  slope = float(sum((g * d).sum() for g, d in zip(grads, step, strict=True)))
  assert (sides[0] - sides[1]) / 2 == pytest.approx(slope, rel=1e-3)


def test_blocks_of_keys_equal_all_at_once_in_values_and_gradients():
  made, qkv, mask = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed())
  target = cases.qkv(2, 2, seed=3)[0]
  dense, blockwise = (jax.device_get(solve(made, qkv, mask, target, n)) for n in (None, 5))
  np.testing.assert_allclose(blockwise[0], dense[0], rtol=1e-5, atol=2e-6)
  for ours, expected in zip(blockwise[2], dense[2], strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_what_positions_add_to_the_output_is_weighed_by_blocks_too():
  made, qkv, mask = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed())
  dense, blockwise = (cases.run(made, qkv, mask, cases.Values(cases.D), block=block)[0] for block in (None, 5))
  np.testing.assert_allclose(blockwise, dense, rtol=1e-5, atol=2e-6)
  assert np.abs(dense - cases.run(made, qkv, mask)[0]).max() > 0.01


def test_memory_by_blocks_grows_with_the_keys_and_not_with_their_square():
  made = cases.mechanism("sigmoid", 1, 1)

  def memory(length):
    qkv = cases.qkv(1, 1, batch=1, queries=length, keys=length)
    step = jax.jit(jax.grad(lambda qkv: made(*qkv, cases.self_mask(rows(length)), block=32)[0].sum()))
    return step.lower(qkv).compile().memory_analysis().temp_size_in_bytes

  assert memory(1024) < 3 * memory(512)  # quadratic growth would be 4 times


def test_without_scores_n_keys_weigh_one_in_n_plus_one_each():
  made, (q, k, v), mask = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed())
  out, weights, _ = jax.device_get(solve(made, (0 * q, k, v), mask, np.ones_like(q)))
  np.testing.assert_allclose(weights[1, 0, 0, 9, :10], 1 / 11, rtol=1e-5)
  np.testing.assert_allclose(out[1, 9, 0, 0], v[1, :10, 0].sum(0) / 11, rtol=1e-4, atol=1e-6)


def test_keys_do_not_compete():
  made, (q, k, v), mask = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.self_mask(cases.whole())
  changed = k.copy()
  changed[:, 3] *= 10
  plain, other = (jax.device_get(solve(made, (q, keys, v), mask, np.ones_like(q))[1]) for keys in (k, changed))
  rest = np.arange(16) != 3
  np.testing.assert_array_equal(other[..., rest], plain[..., rest])
  assert np.abs(other[..., 3] - plain[..., 3]).max() > 0.1


def test_a_packed_row_equals_itself_alone_and_the_order_of_keys_does_not_matter():
  made, (q, k, v), positions = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.packed()
  out, _ = cases.run(made, (q, k, v), cases.self_mask(positions))
  alone, _ = cases.run(made, [a[:1, 5:13] for a in (q, k, v)], cases.self_mask(rows(8)))
  np.testing.assert_allclose(out[:1, 5:13], alone, rtol=1e-5, atol=2e-6)
  order = np.random.default_rng(0).permutation(16)
  mixed, _ = cases.run(
    made, (q, k[:, order], v[:, order]), Mask(positions, positions.at(order), cases.self_mask(positions).rule)
  )
  np.testing.assert_allclose(mixed, out, rtol=1e-5, atol=2e-6)


def test_no_gradient_reaches_what_is_not_seen_and_a_blind_query_gives_zero():
  made, qkv = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2)
  mask = Mask(cases.whole(), cases.whole(start=2), cases.self_mask(cases.whole()).rule)  # queries 0 and 1 see nothing
  target = np.zeros(qkv[0].shape, np.float32)
  target[:, :8] = 1.0
  for block in (None, 5):
    out, weights, (by_q, by_k, by_v) = jax.device_get(solve(made, qkv, mask, target, block))
    assert (out[:, :2] == 0).all()
    assert (weights[..., :2, :] == 0).all()
    assert (by_q[:, :2] == 0).all()
    assert (by_k[:, 6:] == 0).all()
    assert (by_v[:, 6:] == 0).all()
    assert all(np.isfinite(g).all() and (g != 0).any() for g in (by_q, by_k, by_v))


def test_bfloat16_and_huge_scores_stay_finite_and_an_empty_block_is_refused():
  made, qkv, mask = cases.mechanism("sigmoid", 2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed())
  exact, *_ = solve(made, qkv, mask, np.ones_like(qkv[0]))
  half, _, grads = jax.device_get(solve(made, [a.astype(jnp.bfloat16) for a in qkv], mask, np.ones_like(qkv[0])))
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype(np.float32), exact, atol=0.1)
  assert all(np.isfinite(g.astype(np.float32)).all() for g in grads)
  out, weights, grads = solve(made, (1e4 * qkv[0], 1e4 * qkv[1], qkv[2]), mask, np.ones_like(qkv[0]))
  assert all(np.isfinite(a).all() for a in (out, weights, *grads))
  with pytest.raises(Refused, match="block=0"):
    made(*qkv, mask, block=0)
