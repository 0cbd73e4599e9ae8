"""Talking heads against slow loops, what is left of them without mixing, and what mixing heads may not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.errors import Refused
from model.mask import causal, everything, rows
from tests.model import oracle
from tests.model.attention import cases, oracles_dense


@jax.jit
def solve(made, qkv, mask, scheme, target):
  """Output, weights, and the gradients of sum(out * target) by q, k, v and the two matrices."""
  graphdef, params = nnx.split(made)

  def loss(params, qkv):
    made = nnx.merge(graphdef, params)
    out_BTKGD, lse = made(*qkv, mask, scheme)
    assert lse is None
    return (out_BTKGD.astype(jnp.float32) * target).sum(), (out_BTKGD, made.weights(*qkv[:2], mask, scheme))

  grads, found = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, tuple(qkv))
  return *found, grads


def mechanism(kv_heads, groups, before=None, after=None):
  """Drawn, or with matrices of one's own."""
  made = nnx.clone(cases.mechanism("talking", kv_heads, groups))
  for name, matrix in (("before", before), ("after", after)):
    if matrix is not None:
      getattr(made, name)[...] = jnp.asarray(matrix, jnp.float32)
  return made


def seen(positions, is_causal=True):
  return oracle.seen(oracle.causal if is_causal else oracle.everything, *positions, *positions)


@pytest.mark.parametrize("grouping", cases.GROUPINGS)
def test_equals_the_slow_loops(grouping):
  kv_heads, groups = cases.GROUPINGS[grouping]
  made, qkv, positions = mechanism(kv_heads, groups), cases.qkv(kv_heads, groups), cases.packed()
  out, weights, _ = jax.device_get(solve(made, qkv, cases.self_mask(positions), None, np.ones_like(qkv[0])))
  np.testing.assert_allclose(out, oracles_dense.talking(made, *qkv, seen(positions)), rtol=1e-5, atol=5e-6)
  np.testing.assert_allclose(
    weights, oracles_dense.talking_weights(made, *qkv[:2], seen(positions)), rtol=1e-5, atol=1e-6
  )
  assert (out[0, 13:] == 0).all()


def test_a_term_of_the_score_comes_between_the_mixtures():
  made, qkv, positions = mechanism(2, 2), cases.qkv(2, 2), cases.packed()
  scheme = cases.After(4)
  mask = cases.self_mask(positions)
  _, weights, _ = solve(made, qkv, mask, scheme, np.ones_like(qkv[0]))
  term_BHTS = np.asarray(scheme.after(positions, positions))
  expected = oracles_dense.talking_weights(made, *qkv[:2], seen(positions), term_BHTS)
  np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)


def test_without_mixing_it_is_dot_attention():
  made, qkv, mask = mechanism(2, 2, np.eye(4), np.eye(4)), cases.qkv(2, 2), cases.self_mask(cases.packed())
  out, weights, _ = solve(made, qkv, mask, None, np.ones_like(qkv[0]))
  dot = cases.solve(cases.mechanism("dot", 2, 2), qkv, mask)
  np.testing.assert_allclose(out, dot.out, rtol=1e-5, atol=2e-6)
  np.testing.assert_allclose(weights, dot.weights, rtol=1e-5, atol=2e-6)


def test_the_second_matrix_may_exchange_the_distributions_of_heads():
  order = [2, 0, 3, 1]
  made, qkv, mask = mechanism(2, 2, np.eye(4), np.eye(4)[order].T), cases.qkv(2, 2), cases.self_mask(cases.packed())
  _, weights, _ = solve(made, qkv, mask, None, np.ones_like(qkv[0]))
  plain = cases.solve(cases.mechanism("dot", 2, 2), qkv, mask).weights
  np.testing.assert_allclose(
    np.reshape(weights, (2, 4, 16, 16)), plain.reshape(2, 4, 16, 16)[:, order], rtol=1e-5, atol=2e-6
  )


def test_weights_add_up_to_the_columns_of_the_second_matrix():
  made, qkv, mask = mechanism(2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed())
  _, weights, _ = jax.device_get(solve(made, qkv, mask, None, np.ones_like(qkv[0])))
  columns_H = np.asarray(made.after[...]).sum(0)
  np.testing.assert_allclose(
    weights[1].sum(-1).reshape(4, 16), np.broadcast_to(columns_H[:, None], (4, 16)), rtol=1e-5, atol=1e-5
  )
  assert (weights < 0).any()
  assert (weights[~np.broadcast_to(mask.tile()[:, None, None], weights.shape)] == 0).all()


def test_heads_are_mixed_and_keys_are_not():
  made, qkv, positions = mechanism(2, 2), cases.qkv(2, 2), cases.whole()
  target = np.zeros(qkv[0].shape, np.float32)
  target[:, 7, 1, 0] = 1.0  # one head at one token
  _, _, (_, (by_q, by_k, by_v)) = jax.device_get(solve(made, qkv, cases.self_mask(positions), None, target))
  assert (by_k[:, 8:] == 0).all()
  assert (by_v[:, 8:] == 0).all()
  assert (np.abs(by_q[:, 7]).max((0, 3)) > 0).all()  # the queries of all heads
  assert (np.abs(by_k[:, :8]).max((0, 3)) > 0).all()
  assert (by_v[:, :, 0] == 0).all()  # values stay with their head


def test_gradients_agree_with_the_slow_loops():
  made, qkv, positions = mechanism(2, 2), cases.qkv(2, 2), cases.packed()
  rng = np.random.default_rng(0)
  target = rng.normal(size=qkv[0].shape)
  _, _, (by_params, by_qkv) = jax.device_get(
    solve(made, qkv, cases.self_mask(positions), None, target.astype(np.float32))
  )
  ahead = {"qkv": [1e-3 * rng.normal(size=a.shape) for a in qkv], "params": 1e-3 * rng.normal(size=(2, 4, 4))}

  def value(sign):
    moved = mechanism(
      2,
      2,
      *(np.asarray(m) + sign * d for m, d in zip((made.before[...], made.after[...]), ahead["params"], strict=True)),
    )
    inputs = [a + sign * d for a, d in zip(qkv, ahead["qkv"], strict=True)]
    return (oracles_dense.talking(moved, *inputs, seen(positions)) * target).sum()

  slope = (value(1) - value(-1)) / 2
  expected = sum((g * d).sum() for g, d in zip(by_qkv, ahead["qkv"], strict=True))
  expected += sum((by_params[n][...] * d).sum() for n, d in zip(("before", "after"), ahead["params"], strict=True))
  assert slope == pytest.approx(float(expected), rel=2e-3)


def test_a_packed_row_equals_itself_alone():
  made, (q, k, v) = mechanism(2, 2), cases.qkv(2, 2)
  out, _ = cases.run(made, (q, k, v), cases.self_mask(cases.packed()))
  alone, _ = cases.run(made, [a[:1, 5:13] for a in (q, k, v)], cases.self_mask(rows(8)))
  np.testing.assert_allclose(out[:1, 5:13], alone, rtol=1e-5, atol=2e-6)


def test_bfloat16_is_finite_and_blocks_are_refused():
  made, qkv, mask = mechanism(2, 2), cases.qkv(2, 2), cases.self_mask(cases.packed(), everything())
  exact, _ = cases.run(made, qkv, mask)
  half, _ = cases.run(made, [a.astype(jnp.bfloat16) for a in qkv], mask)
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(half.astype(np.float32), exact, atol=0.1)
  with pytest.raises(Refused, match="block=4"):
    made(*qkv, cases.self_mask(cases.packed(), causal()), block=4)
