"""Additive attention: its bound, its gain, and Bahdanau's form as a special case."""

import jax.numpy as jnp
import numpy as np

from tests.model import oracle
from tests.model.attention import cases


def test_scores_equal_a_loop():
  made = cases.mechanism("additive", 2, 2, head_dim=5)
  q, k, _ = cases.qkv(2, 2, batch=1, queries=3, keys=4, head_dim=5)
  score = made.scores(q, k)
  for kv_head, group, t, s in np.ndindex(2, 2, 3, 4):
    pair = np.asarray(q[0, t, kv_head, group]), np.asarray(k[0, s, kv_head])
    expected = oracle.additive(*pair, cases.numbers(made), kv_head * 2 + group)
    assert abs(float(score[0, kv_head, group, t, s]) - expected) < 1e-6


def test_scores_are_bounded_by_the_norm_of_the_readout():
  made = cases.mechanism("additive", 2, 1)
  q, k, _ = cases.qkv(2, 1)
  bound_K = np.abs(made.readout[...]).sum(-1)
  score = np.abs(made.scores(100 * q, 100 * k)).max((0, 2, 3, 4))
  assert (score <= bound_K * (1 + 1e-6)).all()
  assert (score > 0.5 * bound_K).all()


def test_the_gain_multiplies_scores_and_gain_zero_is_a_mean():
  q, k, v = cases.qkv(2, 2)
  mask = cases.self_mask(cases.packed())
  plain, strong, flat = (cases.mechanism("additive", 2, 2, gain=gain) for gain in (1.0, 3.0, 0.0))
  np.testing.assert_allclose(strong.scores(q, k), 3 * plain.scores(q, k), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(cases.run(flat, (q, k, v), mask)[0][1, 4, 0, 0], v[1, :5, 0].mean(0), rtol=1e-5, atol=1e-6)


def test_it_is_one_hidden_layer_on_the_concatenated_pair():
  """The score v . tanh(W_q x + W_k y) = a perceptron with kernel [W_q; W_k] applied to [x; y]."""
  made = cases.mechanism("additive", 1, 1)
  rng = np.random.default_rng(0)
  w_q, w_k, x, y = rng.normal(size=(6, 8)), rng.normal(size=(6, 8)), rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
  q, k = jnp.asarray((x @ w_q)[None, :, None, None], jnp.float32), jnp.asarray((y @ w_k)[None, :, None], jnp.float32)
  pairs = np.concatenate([np.repeat(x, 5, 0), np.tile(y, (4, 1))], 1)
  hidden = np.tanh(pairs @ np.concatenate([w_q, w_k]) + np.asarray(made.bias[0]))
  expected = (hidden @ np.asarray(made.readout[0])).reshape(4, 5)
  np.testing.assert_allclose(made.scores(q, k)[0, 0, 0], expected, rtol=1e-5, atol=2e-6)
