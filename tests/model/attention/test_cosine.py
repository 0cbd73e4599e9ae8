"""Cosine attention: bounded, blind to length, unscaled dot on unit vectors."""

import jax.numpy as jnp
import numpy as np

from tests.model.attention import cases


def test_scores_do_not_depend_on_lengths_and_are_bounded():
  made = cases.mechanism("cosine", 2, 2)
  q, k, _ = cases.qkv(2, 2)
  score = made.scores(q, k)
  np.testing.assert_allclose(made.scores(5 * q, 0.1 * k), score, rtol=1e-4, atol=1e-4)
  bound_KG11 = (made.scale[...] * made.factor[...]).reshape(2, 2, 1, 1)
  assert (np.abs(score) <= bound_KG11 * (1 + 1e-6)).all()


def test_a_vector_with_itself_reaches_the_scale():
  made = cases.realize(lambda: cases.build.make("attention", {"kind": "cosine", "scale": 4.0}, heads=2, head_dim=8))
  _, k, _ = cases.qkv(2, 1)
  diagonal = jnp.diagonal(made.scores(k[:, :, :, None], k)[:, :, 0], axis1=-2, axis2=-1)
  np.testing.assert_allclose(diagonal, 4.0, rtol=1e-5)


def test_on_unit_vectors_it_is_dot_attention():
  q, k, v = cases.qkv(2, 2)
  q, k = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (q, k))
  mask = cases.self_mask(cases.packed())
  cosine = cases.realize(lambda: cases.build.make("attention", {"kind": "cosine", "scale": 3.0}, heads=4, head_dim=8))
  dot = cases.mechanism("dot", 2, 2, scale=3.0)
  np.testing.assert_allclose(
    cases.run(cosine, (q, k, v), mask)[0], cases.run(dot, (q, k, v), mask)[0], rtol=1e-5, atol=1e-6
  )


def test_a_zero_query_spreads_evenly_with_a_finite_gradient():
  made = cases.mechanism("cosine", 1, 1)
  q, k, v = cases.qkv(1, 1)
  mask = cases.self_mask(cases.packed())
  out, _ = cases.run(made, (0 * q, k, v), mask)
  np.testing.assert_allclose(out[1, 3, 0, 0], v[1, :4, 0].mean(0), rtol=1e-5, atol=1e-6)
  assert all(np.isfinite(g).all() for g in cases.solve(made, (0 * q, k, v), mask).grads)
