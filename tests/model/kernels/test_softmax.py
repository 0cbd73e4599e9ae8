"""Joining parts of the keys against the whole, in each of the forms in which parts come."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.kernels import softmax


def test_merge_joins_normalized_parts_and_skips_empty_ones():
  rng = np.random.default_rng(0)
  score, value = rng.normal(size=9) * 5, rng.normal(size=(9, 4))

  def part(of):
    exps = np.exp(score[of])
    out = (exps / exps.sum()) @ value[of] if len(exps) else np.zeros(4)
    with np.errstate(divide="ignore"):
      return jnp.asarray(out)[None, None, None, None], jnp.asarray(np.log(exps.sum()))[None, None, None, None]

  whole = part(slice(0, 9))
  out, lse = softmax.merge([part(slice(0, 3)), part(slice(0, 0)), part(slice(3, 4)), part(slice(4, 9))])
  np.testing.assert_allclose(out, whole[0], rtol=1e-5)
  np.testing.assert_allclose(lse, whole[1], rtol=1e-6)
  out, lse = softmax.merge([part(slice(0, 0)), part(slice(0, 0))])
  assert (out == 0).all()
  assert (lse == -jnp.inf).all()
  grad = jax.grad(lambda o: softmax.merge([(o, whole[1]), part(slice(0, 0))])[0].sum())(whole[0])
  np.testing.assert_allclose(grad, 1.0, rtol=1e-6)


def parts_of(rng, empty=False):
  """Attention over each of four disjoint sets of keys for two queries, and over all of them, by numpy."""
  score_STX, value_SXD = rng.normal(size=(4, 2, 3)) * 20, rng.normal(size=(4, 3, 5))
  if empty:
    score_STX[2] = -np.inf
  top_ST1 = np.maximum(score_STX.max(-1, keepdims=True), -1e30)
  w_STX = np.exp(score_STX - top_ST1)
  sum_ST = w_STX.sum(-1)
  with np.errstate(divide="ignore"):
    lse_ST = top_ST1[..., 0] + np.log(sum_ST)
  out_STD = np.einsum("stx,sxd->std", w_STX, value_SXD) / np.maximum(sum_ST, 1e-300)[..., None]
  whole_TX = np.exp(score_STX - score_STX.max((0, 2))[None, :, None])
  whole_TD = np.einsum("stx,sxd->td", whole_TX, value_SXD) / whole_TX.sum((0, 2))[:, None]
  return out_STD, lse_ST, whole_TD, score_STX.max((0, 2)) + np.log(whole_TX.sum((0, 2)))


def pairs_of(out_STD, lse_ST):
  """The parts as (o_BTKGD, lse_BKGT)."""
  sides = zip(jnp.asarray(out_STD), jnp.asarray(lse_ST), strict=True)
  return [(out_TD[None, :, None, None], lse_T[None, None, None]) for out_TD, lse_T in sides]


@pytest.mark.parametrize("empty", [False, True])
def test_parts_that_stand_in_one_array_merge_as_those_of_a_list(empty):
  out_STD, lse_ST, whole_TD, whole_T = parts_of(np.random.default_rng(1), empty)
  pairs = [
    (jnp.asarray(o)[None, :, None, None], jnp.asarray(lse)[None, None, None])
    for o, lse in zip(out_STD, lse_ST, strict=True)
  ]
  out, lse = softmax.merge(pairs)
  np.testing.assert_allclose(out[0, :, 0, 0], whole_TD, rtol=2e-5, atol=1e-6)
  np.testing.assert_allclose(lse[0, 0, 0], whole_T, rtol=1e-5)
  # The same four parts for block 1 of two; block 0 gets none, and a part for block 2, which there is not, is dropped.
  stacked = [jnp.concatenate([jnp.asarray(a), jnp.ones_like(a[:1])])[None] for a in (out_STD, lse_ST)]
  at = softmax.merge_at(stacked[0][..., None, None, :], stacked[1][..., None, None], jnp.array([[1, 1, 1, 1, 2]]), 2)
  np.testing.assert_allclose(at[0][0, 1, :, 0, 0], whole_TD, rtol=2e-5, atol=1e-6)
  np.testing.assert_allclose(at[1][0, 1, :, 0, 0], whole_T, rtol=1e-5)
  assert (at[0][0, 0] == 0).all()
  assert (at[1][0, 0] == -jnp.inf).all()


def test_the_gradient_of_a_merge_is_that_of_the_whole():
  """By its log-sum-exps too: how much a part counts depends on them."""
  out_STD, lse_ST, *_ = parts_of(np.random.default_rng(2), empty=True)

  def merged(lse_ST):
    pairs = [
      (jnp.asarray(o)[None, :, None, None], lse[None, None, None]) for o, lse in zip(out_STD, lse_ST, strict=True)
    ]
    out, lse = softmax.merge(pairs)
    return jnp.sin(out).sum() + lse.sum()

  def plain(lse_ST):
    share_ST = jax.nn.softmax(lse_ST, 0)
    return jnp.sin((share_ST[..., None] * out_STD).sum(0)).sum() + jax.nn.logsumexp(lse_ST, 0).sum()

  found, expected = (jax.grad(f)(jnp.asarray(lse_ST)) for f in (merged, plain))
  np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)
