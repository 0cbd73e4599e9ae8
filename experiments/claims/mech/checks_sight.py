"""Exact checks of who depends on whom: encoder, decoder, feed-forward network, masked words.

The block (t, s) of a Jacobian says how the output at t depends on the input at s.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import (
  Samples,
  answer,
  apart,
  attention,
  blocks,
  call,
  cases,
  distance,
  exchanged,
  one_row,
  share,
  softmax,
  stack,
  token_slopes,
)
from model import mask
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
  for case in cases(lambda shape: Encoder(stack(shape))):
    (encoder,) = case.modules
    changes_TS = exchanged(_states, encoder, case.x_BTM[0], case.other_BTM[0])
    samples.add(
      weakest_dependence_on_another_token=share(apart(changes_TS), changes_TS),
      least_weight_in_any_head=call(_least_weight, encoder, case.x_BTM),
    )
  return samples


def causal() -> Samples:
  """MECH-11a: how a decoder's outputs depend on later tokens, and what a row that may see nothing gives.

  The single layer has a padded last token, whose row is empty. Beside our masking stand the two usual fills of
  forbidden scores, -inf and -1e9.
  """
  samples = Samples()
  for case in cases(lambda shape: Decoder(stack(shape)), attention):
    decoder, heads = case.modules
    x_TM, later_TS = case.x_BTM[0], ~np.tri(case.shape.length, dtype=bool)
    changes_TS = exchanged(_states, decoder, x_TM, case.other_BTM[0])
    single, half = (call(_padded, heads, x_TM.astype(dtype)) for dtype in (np.float32, jnp.bfloat16))
    score_TS = x_TM @ case.other_BTM[0].T
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


def _filled(score_TS, seen_TS, fill) -> np.ndarray:
  """Softmax weights when forbidden scores are overwritten by a number, in float32 as such code does it."""
  return softmax(np.where(seen_TS, score_TS, np.float32(fill)))


def masking() -> Samples:
  """MECH-17a: how far a prediction depends on its own word, when scores are masked and when the word is replaced."""
  samples = Samples()
  for case in cases(lambda shape: Block(stack(shape), layer=0)):
    (block,), x_TM, other_TM = case.modules, case.x_BTM[0], case.other_BTM[0]
    hidden = len(x_TM) // 2
    scored_S = exchanged(_unseen, block, x_TM, other_TM)[hidden]
    # The vector of the mask: the same, whatever word it stands for.
    masked_TM, changed_TM = (
      np.concatenate([a[:hidden], np.ones_like(a[:1]), a[hidden + 1 :]]) for a in (x_TM, other_TM)
    )
    replaced_S = exchanged(_seen, block, masked_TM, changed_TM)[hidden]
    samples.add(
      own_word_with_masked_scores=share(scored_S[hidden : hidden + 1], scored_S),
      own_word_when_replaced=replaced_S[hidden],
      weakest_context_word_when_replaced=share(np.delete(replaced_S, hidden), replaced_S),
    )
  return samples


def _states(stack, x_BTM):
  return stack(x_BTM, mask.rows(x_BTM.shape[1]))[0]


def _least_weight(stack, x_BTM):
  record: list[dict] = []
  stack(x_BTM, mask.rows(x_BTM.shape[1]), record=record)
  return jnp.stack([entry["weights_BKGTS"].min() for entry in record]).min()


def _padded(heads, x_TM):
  """Outputs (T, M) of one causal layer whose last token is padding, and their derivatives (T, M, S, M)."""
  here_BT = (jnp.arange(len(x_TM)) < len(x_TM) - 1)[None].astype(jnp.int32)
  positions = mask.Positions(jnp.arange(len(x_TM))[None], here_BT)

  def run(x_TM):
    y_TM = heads(x_TM[None], x_TM[None], mask.Mask(positions, positions, mask.causal()))[0][0]
    return y_TM, y_TM

  slopes_TMSM, y_TM = jax.jacfwd(run, has_aux=True)(x_TM)
  return y_TM, slopes_TMSM


def _seen(block, x_BTM):
  return block(x_BTM, one_row(x_BTM.shape[1], mask.everything()))[0]


def _unseen(block, x_BTM):
  """The block when nobody may look at the middle token."""
  hidden = x_BTM.shape[1] // 2
  return block(x_BTM, one_row(x_BTM.shape[1], mask.everything() & ~mask.anchors(hidden)))[0]
