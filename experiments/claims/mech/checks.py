"""Exact checks of a self-attention layer: weights, outputs, parameters, parity with the published formula.

softmax(Q K^T / sqrt(d_k)) V per head, joined and mapped by W_O (Vaswani et al. 2017, equation 1 and section 3.2.2).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import (
  Samples,
  Shape,
  apart,
  attend,
  attention,
  blocks,
  call,
  cases,
  distance,
  kernel,
  one_row,
  recorded,
  share,
  token_slopes,
)
from model import mask
from model.feedforward.relu import Relu


def weights() -> Samples:
  """MECH-1: are the weights a distribution, and does a_ij depend on the content of token j?"""
  samples = Samples()
  for case in cases(attention):
    x_BTM = case.x_BTM / 2  # smaller scores: no weight is so small that its derivative drowns
    w_BKGTS = call(attend, *case.modules, x_BTM)[1]
    slopes_KTSSM = call(_slopes, *case.modules, x_BTM[0])[1]
    norms_KTS = np.linalg.norm(np.diagonal(slopes_KTSSM, axis1=2, axis2=3), axis=2)
    samples.add(
      least_weight=w_BKGTS.min(),
      error_of_the_row_sums=distance(w_BKGTS.sum(-1), 1.0),
      least_change_with_content=share(norms_KTS, norms_KTS),
    )
  return samples


def context() -> Samples:
  """MECH-3: how far an output depends on the other inputs, in attention and in a feed-forward network."""
  samples = Samples()
  for case in cases(attention, _feedforward):
    heads, feedforward = case.modules
    mixed_BTM = np.concatenate([case.x_BTM[:, :1], case.other_BTM[:, 1:]], 1)
    here_M, there_M = (call(attend, heads, rest_BTM)[0][0, 0] for rest_BTM in (case.x_BTM, mixed_BTM))
    norms_TS = blocks(call(_slopes, heads, case.x_BTM[0])[0])
    samples.add(
      weakest_dependence_on_another_token=share(apart(norms_TS), norms_TS),
      one_token_in_two_contexts=np.linalg.norm(here_M - there_M) / np.linalg.norm(here_M),
      feed_forward_dependence_on_another_token=apart(blocks(call(token_slopes, feedforward, case.x_BTM[0]))).max(),
    )
  return samples


def parameters() -> Samples:
  """MECH-4: can three matrices, one each for query, key and value, do all that the layer does?

  The best value matrix is fitted to the layer's output, given its weights: head h may use its own columns only.
  """
  samples = Samples()
  # Many more inputs than unknowns, so that a fit means something.
  shapes = (Shape(40, 4, 8, 2), Shape(40, 5, 12, 3), Shape(40, 7, 16, 4))
  for case in cases(lambda shape: attention(shape, heads=1), attention, shapes=shapes):
    for name, heads in zip(("one head", "several heads"), case.modules, strict=True):
      y_BTM, w_BKGTS, _ = call(attend, heads, case.x_BTM)
      numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(nnx.state(heads, nnx.Param)))
      found = {
        f"{name}: output left unexplained": _unexplained(w_BKGTS[:, :, 0], case.x_BTM, y_BTM),
        f"{name}: matrices, width by width": numbers / case.shape.width**2,
      }
      samples.add(**found)
  return samples


def _unexplained(w_BHTS, x_BTM, y_BTM) -> float:
  """Share of the output's norm that the weights and the best value matrix leave over."""
  left = 0.0
  for w_BTS, y_BTD in zip(np.moveaxis(w_BHTS, 1, 0), np.split(y_BTM, w_BHTS.shape[1], axis=-1), strict=True):
    seen_XM = (w_BTS @ x_BTM).reshape(-1, x_BTM.shape[-1]).astype(np.float64)
    y_XD = y_BTD.reshape(len(seen_XM), -1)
    left += np.square(seen_XM @ np.linalg.lstsq(seen_XM, y_XD)[0] - y_XD).sum()
  return np.sqrt(left / np.square(y_BTM).sum())


def hull() -> Samples:
  """MECH-6: is a head's output the weighted sum of the values, and inside their convex hull?"""
  samples = Samples()
  for case in cases(attention):
    (heads,) = case.modules
    _, w_BKGTS, out_BTKGD = call(attend, heads, case.x_BTM)
    v_BSKD = np.einsum("bsm,mkd->bskd", case.x_BTM, kernel(heads, "value"))
    o_BTKD, longest_BK = out_BTKGD[:, :, :, 0], np.linalg.norm(v_BSKD, axis=-1).max(1)
    excess_BTKD = np.maximum(o_BTKD - v_BSKD.max(1, keepdims=True), v_BSKD.min(1, keepdims=True) - o_BTKD)
    samples.add(
      error_of_the_weighted_sum=distance(o_BTKD, np.einsum("bkts,bskd->btkd", w_BKGTS[:, :, 0], v_BSKD)),
      outside_the_range_of_the_values=excess_BTKD.max(),
      length_beyond_the_longest_value=(np.linalg.norm(o_BTKD, axis=-1) - longest_BK[:, None]).max(),
    )
  return samples


def separate() -> Samples:
  """MECH-7: does each head work alone, and is joining them and mapping by W_O the sum of what each contributes?"""
  samples = Samples()
  for case in cases(attention):
    (heads,) = case.modules
    y_BTM, _, out_BTKGD = call(attend, heads, case.x_BTM)
    out_KDM = kernel(heads, "out")
    joined_BTF = out_BTKGD.reshape(*y_BTM.shape[:2], -1)
    each_BTM = sum(out_BTKGD[:, :, head, 0] @ matrix_DM for head, matrix_DM in enumerate(out_KDM))
    slopes_KK = call(_head_slopes, heads, case.x_BTM, case.other_BTM)
    samples.add(
      joined_and_mapped=distance(y_BTM, joined_BTF @ out_KDM.reshape(joined_BTF.shape[-1], -1)),
      sum_over_heads=distance(y_BTM, each_BTM),
      gradient_by_the_weights_of_another_head=apart(slopes_KK).max(initial=0.0),
      gradient_by_its_own_weights=np.diagonal(slopes_KK).min(),
    )
  return samples


def content() -> Samples:
  """MECH-8: what changes with W_V, with W_Q and W_K, and with the content when the values carry none."""
  samples = Samples()
  for case in cases(attention, attention):
    heads, again = case.modules
    w_BKGTS = call(attend, heads, case.x_BTM)[1]
    y_BTM, w_new_BKGTS, _ = call(attend, _exchanged(heads, again, "query", "key"), case.x_BTM)
    v_BSKD = np.einsum("bsm,mkd->bskd", case.x_BTM, kernel(heads, "value"))
    through_BTM = np.einsum("bkts,bskd,kdm->btm", w_new_BKGTS[:, :, 0], v_BSKD, kernel(heads, "out"))
    slopes = call(_content_slopes, heads, case.x_BTM[0], case.other_BTM[0])
    samples.add(
      weights_after_new_values=distance(w_BKGTS, call(attend, _exchanged(heads, again, "value"), case.x_BTM)[1]),
      weights_after_new_queries_and_keys=distance(w_BKGTS, w_new_BKGTS),
      output_beyond_what_the_weights_explain=distance(y_BTM, through_BTM),
      content_in_the_output_but_not_in_the_values=np.linalg.norm(slopes),
    )
  return samples


def _exchanged(heads, again, *names):
  """The heads with the named projections of `again`."""
  graphdef, params, rest = nnx.split(heads, nnx.Param, ...)
  values = {name: getattr(again if name in names else heads, name)[...] for name in params}
  return nnx.merge(graphdef, nnx.State(values), rest)


def _feedforward(shape):
  return Relu(shape.width, hidden=12)


def _slopes(heads, x_TM):
  """Derivatives of outputs (T, M, S, M) and weights (H, T, S, S, M) by inputs."""

  def run(x_TM):
    y_BTM, w_BKGTS, _ = recorded(heads, x_TM[None], mask.everything())
    return y_BTM[0], w_BKGTS[0, :, 0]

  return jax.jacfwd(run)(x_TM)


def _head_slopes(heads, x_BTM, along_BTM):
  """Norms (H, H): derivative of head i's output, along a random direction, by the projections of head j."""
  graphdef, params, rest = nnx.split(heads, nnx.Param, ...)

  def run(params):
    out_BTKGD = recorded(nnx.merge(graphdef, params, rest), x_BTM, mask.everything())[2]
    return jnp.einsum("btkgd,btd->k", out_BTKGD, along_BTM[..., : out_BTKGD.shape[-1]])

  slopes = jax.jacrev(run)(params)
  by_head = [jnp.moveaxis(slopes[name][...], 2, 1) for name in ("query", "key", "value")]
  return jnp.sqrt(sum(jnp.square(slope.reshape(*slope.shape[:2], -1)).sum(-1) for slope in by_head))


def _content_slopes(heads, x_TM, place_TM):
  """Derivatives by the content of head outputs whose values are read from `place_TM`, whatever the tokens say."""

  def run(x_TM):
    q_BTKGD = jnp.tensordot(x_TM, heads.query[...], 1)[None]
    k_BSKD, v_BSKD = jnp.tensordot(x_TM, heads.key[...], 1)[None], jnp.tensordot(place_TM, heads.value[...], 1)[None]
    return heads.mechanism(q_BTKGD, k_BSKD, v_BSKD, one_row(len(x_TM), mask.everything()))[0][0]

  return jax.jacfwd(run)(x_TM)
