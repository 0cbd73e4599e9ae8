"""Decoding over the carry: at each step the last token goes in, the keys and values of earlier ones are remembered."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from model.errors import Refused
from model.language import Inputs
from model.mask import Positions, rows

FAR = 2**30  # a position beyond every table


def greedy(model, tokens_BTC, positions: Positions, *, stop: int, length: int, start: int | None = None):
  """The most probable symbol at each of `length` steps, (B, length) int32; after its first `stop` a row holds stops.

  Seq2Seq reads `tokens_BTC` as the source and begins with `start`; Gpt reads it as the prompt (padding allowed,
  segment 0) and goes on after the last token of each row. Pure, of static shape: may be jitted and mapped.
  Refused where `check` does; a position outside a table that only traced numbers tell gives symbols -1, never a guess.
  """
  first = check(model, positions, start=start, stop=stop, length=length)
  best = _best_known if _may_run_out(model, positions) else _best
  if hasattr(model, "encode"):
    carry = model.start(tokens_BTC, positions, length)
    tokens_BTC, positions = jnp.full((tokens_BTC.shape[0], 1, 1), first, jnp.int32), rows(1)
  else:
    carry = model.start(tokens_BTC.shape[0], tokens_BTC.shape[1] + length)
  B, T, _ = tokens_BTC.shape
  logits_BTRV, carry = model(Inputs(tokens_BTC, positions), carry=carry)
  pos_BT, segment_BT = (jnp.broadcast_to(jnp.asarray(a), (B, T)) for a in positions)
  last_B1 = jnp.argmax(jnp.where(segment_BT > 0, jnp.arange(T), -1), 1, keepdims=True)
  pos_B1, segment_B1 = (jnp.take_along_axis(a, last_B1, 1) for a in (pos_BT, segment_BT))
  first_B = best(jnp.take_along_axis(logits_BTRV[:, :, 0], last_B1[..., None], 1)[:, 0])

  def step(state, i):
    carry, token_B = state
    here = Positions(pos_B1 + i, segment_B1)
    logits_B1RV, carry = model(Inputs(token_B[:, None, None], here), carry=carry)
    best_B = best(logits_B1RV[:, 0, 0])
    token_B = jnp.where(token_B == stop, stop, best_B)
    return (carry, token_B), token_B

  _, rest_TB = jax.lax.scan(step, (carry, first_B), jnp.arange(1, length))
  return jnp.concatenate([first_B[:, None], rest_TB.T], 1)


def check(model, positions: Positions, *, start: int | None, stop: int | None, length: int) -> int:
  """The symbol to start with; Refused when this model, whose numbers may be missing, cannot decode from there.

  What is known is checked: with traced positions a prompt counts as one that begins at 0.
  """
  first, reads = _check(model, start, stop, length), hasattr(model, "encode")
  if any(isinstance(a, Tracer) for a in positions):
    last = 0 if reads else positions.pos_BT.shape[1] - 1
  else:
    pos_BT, segment_BT = np.broadcast_arrays(*(np.asarray(a) for a in positions))
    last = _source_end(model, pos_BT, segment_BT) if reads else _prompt_end(pos_BT, segment_BT)
  _hold(model.decoder, last + length - 1, f"decoding {length} symbols")
  return first


def _source_end(model, pos_BT, segment_BT) -> int:
  """The position at which the decoder starts; Refused for a source that it would not look at, or that is too long."""
  if not np.isin(segment_BT, (0, 1)).all():
    raise Refused(f"a source of segment {segment_BT.max()} cannot be decoded; give one sequence per row, of segment 1")
  if (segment_BT > 0).any():
    _hold(getattr(model, "encoder", None), int(pos_BT[segment_BT > 0].max()), "the source")
  return 0


def _prompt_end(pos_BT, segment_BT) -> int:
  """The highest position at which a row goes on."""
  if not (segment_BT > 0).any(1).all():
    raise Refused("a prompt without a token has nothing to go on from; give every row at least one, of segment 1")
  column_B = np.where(segment_BT > 0, np.arange(pos_BT.shape[1]), -1).argmax(1)
  return int(pos_BT[np.arange(len(pos_BT)), column_B].max())


def _hold(stack, highest: int, what: str) -> None:
  """Refused when the position scheme of an encoder or decoder knows no position as high as that."""
  position = getattr(stack, "position", None)  # recurrent ones have none
  if position is None:
    return
  graphdef, state = nnx.split(position)
  try:
    jax.eval_shape(lambda state: nnx.merge(graphdef, state).embed(jnp.zeros((1, 1, 1)), rows(1, highest)), state)
  except Refused as refusal:
    raise Refused(f"{what}, up to position {highest}: {refusal}") from None


def _may_run_out(model, positions: Positions) -> bool:
  """Whether traced positions could lie outside a table."""
  if not any(isinstance(a, Tracer) for a in positions):
    return False
  try:
    for name in ("encoder", "decoder") if hasattr(model, "encode") else ("decoder",):
      _hold(getattr(model, name, None), FAR, "")
  except Refused:
    return True
  return False


def _best(logits_BV):
  return jnp.argmax(logits_BV, -1).astype(jnp.int32)


def _best_known(logits_BV):
  """-1 where the logits are no numbers."""
  return jnp.where(jnp.isnan(logits_BV).any(-1), -1, _best(logits_BV))


def _check(model, start, stop, length) -> int:
  """The symbol to start with; Refused when this model cannot be decoded so."""
  if not hasattr(model, "start") or (not hasattr(model, "encode") and getattr(model.decoder, "two_ways", False)):
    fit = "use kind=gpt, kind=seq2seq, or kind=rnn with direction=forward"
    raise Refused(f"{type(model).__name__} cannot decode step by step; {fit}")
  fields, outputs, readouts = model.vocabulary.inputs, model.vocabulary.outputs, model.vocabulary.readouts
  if len(fields) != 1 or readouts != 1 or outputs > fields[0]:
    raise Refused(f"decoding feeds predictions back: it needs one field and one readout, got {model.vocabulary}")
  if hasattr(model, "encode") and (start is None or not 0 <= start < fields[0]):
    raise Refused(f"start={start} is not a symbol of the decoder; allowed are 0 to {fields[0] - 1}")
  if stop is None or not 0 <= stop < outputs:
    raise Refused(f"stop={stop} can never be predicted; allowed are 0 to {outputs - 1}")
  if length < 1:
    raise Refused(f"length={length} decodes nothing; give 1 or more")
  return 0 if start is None else start
