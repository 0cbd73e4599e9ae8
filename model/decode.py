"""Decoding over the carry: at each step the last token goes in, the keys and values of earlier ones are remembered."""

import jax
import jax.numpy as jnp

from model.errors import Refused
from model.language import Inputs
from model.see import Where, rows


def greedy(model, tokens_BTC, where: Where, *, stop: int, length: int, start: int | None = None):
  """The most probable symbol at each of `length` steps, (B, length) int32; after its first `stop` a row holds stops.

  Seq2Seq reads `tokens_BTC` as the source and begins with `start`; Gpt reads it as the prompt (padding allowed,
  segment 0) and goes on after the last token of each row. Pure, of static shape: may be jitted and mapped.
  """
  first = _check(model, start, stop, length)
  if hasattr(model, "encode"):
    carry = model.start(tokens_BTC, where, length)
    tokens_BTC, where = jnp.full((tokens_BTC.shape[0], 1, 1), first, jnp.int32), rows(1)
  else:
    carry = model.start(tokens_BTC.shape[0], tokens_BTC.shape[1] + length)
  B, T, _ = tokens_BTC.shape
  position = getattr(model.decoder, "position", None)  # recurrent decoders have none
  if position is not None:
    position.embed(jnp.zeros((1, 1, 1)), rows(1, T + length - 2))  # refuses what no table holds
  logits_BTRV, carry = model(Inputs(tokens_BTC, where), carry=carry)
  pos_BT, segment_BT = (jnp.broadcast_to(jnp.asarray(a), (B, T)) for a in where)
  last_B1 = jnp.argmax(jnp.where(segment_BT > 0, jnp.arange(T), -1), 1, keepdims=True)
  pos_B1, segment_B1 = (jnp.take_along_axis(a, last_B1, 1) for a in (pos_BT, segment_BT))
  first_B = jnp.argmax(jnp.take_along_axis(logits_BTRV[:, :, 0], last_B1[..., None], 1)[:, 0], -1).astype(jnp.int32)

  def step(state, i):
    carry, token_B = state
    here = Where(pos_B1 + i, segment_B1)
    logits_B1RV, carry = model(Inputs(token_B[:, None, None], here), carry=carry)
    best_B = jnp.argmax(logits_B1RV[:, 0, 0], -1).astype(jnp.int32)
    token_B = jnp.where(token_B == stop, stop, best_B)
    return (carry, token_B), token_B

  _, rest_TB = jax.lax.scan(step, (carry, first_B), jnp.arange(1, length))
  return jnp.concatenate([first_B[:, None], rest_TB.T], 1)


def _check(model, start, stop, length) -> int:
  """The symbol to start with; Refused when this model cannot be decoded so."""
  if not hasattr(model, "start"):
    raise Refused(f"{type(model).__name__} cannot decode step by step; use kind=gpt or kind=seq2seq")
  fields, outputs, readouts = model.vocabulary.inputs, model.vocabulary.outputs, model.vocabulary.readouts
  if len(fields) != 1 or readouts != 1 or outputs > fields[0]:
    raise Refused(f"decoding feeds predictions back: it needs one field and one readout, got {model.vocabulary}")
  if hasattr(model, "encode") and (start is None or not 0 <= start < fields[0]):
    raise Refused(f"start={start} is not a symbol of the decoder; allowed are 0 to {fields[0] - 1}")
  if not 0 <= stop < outputs:
    raise Refused(f"stop={stop} can never be predicted; allowed are 0 to {outputs - 1}")
  if length < 1:
    raise Refused(f"length={length} decodes nothing; give 1 or more")
  return 0 if start is None else start
