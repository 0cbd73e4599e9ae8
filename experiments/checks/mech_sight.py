"""Exact checks of who depends on whom: encoder, decoder, feed-forward network, masked words.

The block (t, s) of a Jacobian says how the output at t depends on the input at s.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.checks.grid import (
  Samples,
  answer,
  apart,
  attention,
  blocks,
  call,
  cases,
  distance,
  share,
  stack,
  token_slopes,
  whole,
)
from model import see
from model.block import Block
from model.feedforward.gelu import Gelu
from model.feedforward.relu import Relu
from model.transformer import Decoder, Encoder


def feedforward() -> Samples:
  """MECH-9: does the feed-forward network treat each token alone and all alike, with two layers?"""
  samples = Samples()
  for case in (case for kind in (Relu, Gelu) for case in cases(lambda shape, kind=kind: kind(shape.width, hidden=12))):
    (layer,) = case.modules
    norms_TS = blocks(call(token_slopes, layer, case.x_BTM[0]))
    y_BTM, reversed_BTM = (call(answer, layer, x_BTM) for x_BTM in (case.x_BTM, case.x_BTM[:, ::-1]))
    samples.add(
      dependence_on_another_token=apart(norms_TS).max(),
      least_dependence_on_itself=share(np.diagonal(norms_TS), norms_TS),
      difference_between_positions=distance(y_BTM[:, ::-1], reversed_BTM),
      fully_connected_layers=sum(np.ndim(leaf) == 2 for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param))),
    )
  return samples


def encoder() -> Samples:
  """MECH-10: does an encoder without padding look at every token, in every layer and head?"""
  samples = Samples()
  for case in cases(_encoder):
    slopes_TMSM, least = call(_state_slopes, *case.modules, case.x_BTM[0])
    norms_TS = blocks(slopes_TMSM)
    samples.add(
      weakest_dependence_on_another_token=share(apart(norms_TS), norms_TS),
      least_weight_in_any_head=least,
    )
  return samples


def causal() -> Samples:
  """MECH-11a: how a decoder's outputs depend on later tokens, and what a row that may see nothing gives.

  The single layer has a padded last token, whose row is empty. Beside our masking stand the two usual fills of
  forbidden scores, -inf and -1e9.
  """
  samples = Samples()
  for case in cases(_decoder, attention):
    decoder, heads = case.modules
    later_TS = ~np.tri(case.shape.length, dtype=bool)
    changes_TS = _changes(decoder, case)
    single, half = (call(_padded, heads, case.x_BTM[0].astype(dtype)) for dtype in (np.float32, jnp.bfloat16))
    score_TS = case.x_BTM[0] @ case.other_BTM[0].T
    samples.add(
      change_of_a_stack_with_later_tokens=changes_TS[later_TS].max(),
      least_change_of_a_stack_with_earlier_tokens=share(changes_TS[~later_TS], changes_TS),
      derivative_by_later_tokens_in_float32=blocks(single[1])[later_TS].max(),
      derivative_by_later_tokens_in_bfloat16=blocks(half[1])[later_TS].max(),
      output_of_a_row_that_sees_nothing=max(np.abs(y_TM[-1]).max() for y_TM, _ in (single, half)),
      derivative_of_a_row_that_sees_nothing=max(np.abs(slopes[-1]).max() for _, slopes in (single, half)),
      not_finite=sum(np.sum(~np.isfinite(part.astype(np.float32))) for part in (*single, *half)),
      weight_on_later_tokens_filled_with_minus_infinity=_filled(score_TS, ~later_TS, -np.inf)[later_TS].max(),
      weight_on_later_tokens_filled_with_minus_1e9=_filled(score_TS, ~later_TS, -1e9)[later_TS].max(),
      weight_in_an_empty_row_filled_with_minus_1e9=_filled(score_TS, later_TS & False, -1e9).max(),
    )
  return samples


def _changes(decoder, case) -> np.ndarray:
  """How far the output at t moves (T, S) when the token at s is exchanged, one row of a batch for each s."""
  x_TM, other_TM = case.x_BTM[0], case.other_BTM[0]
  exchanged_SS = np.eye(len(x_TM), dtype=bool)[:, :, None]
  y_STM = call(_states_of, decoder, np.concatenate([x_TM[None], np.where(exchanged_SS, other_TM, x_TM)]))
  return np.abs(y_STM[1:] - y_STM[:1]).max(-1).T


def _filled(score_TS, seen_TS, fill) -> np.ndarray:
  """Softmax weights when forbidden scores are overwritten by a number, in float32 as such code does it."""
  score_TS = np.where(seen_TS, score_TS, np.float32(fill))
  w_TS = np.exp(score_TS - score_TS.max(-1, keepdims=True))
  return w_TS / w_TS.sum(-1, keepdims=True)


def masking() -> Samples:
  """MECH-17a: how far a prediction depends on its own word, when scores are masked and when the word is replaced."""
  samples = Samples()
  for case in cases(lambda shape: Block(stack(shape, feedforward={"kind": "none"}), layer=0)):
    hidden = case.shape.length // 2
    scored_TS, replaced_TS = (
      blocks(j) for j in call(_masked_slopes, *case.modules, case.x_BTM[0], case.other_BTM[0, 0])
    )
    others_S = np.arange(case.shape.length) != hidden
    samples.add(
      own_word_with_masked_scores=scored_TS[hidden, hidden] / scored_TS.max(),
      own_word_when_replaced=replaced_TS[hidden, hidden],
      weakest_context_word_when_replaced=share(replaced_TS[hidden, others_S], replaced_TS),
    )
  return samples


def _encoder(shape):
  return Encoder(stack(shape))


def _decoder(shape):
  return Decoder(stack(shape))


def _state_slopes(stack, x_TM):
  """Derivatives (T, M, S, M) of a stack's states by its inputs, and the least weight in any of its heads."""

  def run(x_TM):
    record: list[dict] = []
    y_BTM, _ = stack(x_TM[None], see.rows(len(x_TM)), record=record)
    return y_BTM[0], jnp.stack([entry["weights_BKGTS"].min() for entry in record]).min()

  return jax.jacfwd(run, has_aux=True)(x_TM)


def _states_of(stack, x_BTM):
  return stack(x_BTM, see.rows(x_BTM.shape[1]))[0]


def _padded(heads, x_TM):
  """Outputs (T, M) of one causal layer whose last token is padding, and their derivatives (T, M, S, M)."""
  here_BT = (jnp.arange(len(x_TM)) < len(x_TM) - 1)[None].astype(jnp.int32)
  where = see.Where(jnp.arange(len(x_TM))[None], here_BT)

  def run(x_TM):
    y_TM = heads(x_TM[None], x_TM[None], see.See(where, where, see.causal()))[0][0]
    return y_TM, y_TM

  slopes_TMSM, y_TM = jax.jacfwd(run, has_aux=True)(x_TM)
  return y_TM, slopes_TMSM


def _masked_slopes(block, x_TM, mask_M):
  """Derivatives (T, M, S, M) when one word's key is hidden from all, and when its embedding is replaced."""
  hidden = len(x_TM) // 2

  def scored(x_TM):
    return block(x_TM[None], whole(len(x_TM), see.everything() & ~see.anchors(hidden)))[0][0]

  def replaced(x_TM):
    return block(x_TM.at[hidden].set(mask_M)[None], whole(len(x_TM), see.everything()))[0][0]

  return jax.jacfwd(scored)(x_TM), jax.jacfwd(replaced)(x_TM)
