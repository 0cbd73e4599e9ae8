"""Sampled decoding: a draw from softmax(logits / temperature) is the most probable symbol of logits with Gumbel noise.

argmax_v(logit_v / temperature + g_v), g_v = -log(-log u) (Gumbel 1954; Maddison et al. 2014). So greedy decoding of a
model whose logits carry that noise samples, and greedy decoding of a model with one more symbol, which is never the
most probable one, has no stop. The noise follows from key, row and position: a longer answer begins like a shorter one.
"""

import jax
import jax.numpy as jnp

from model import decode
from model.mask import Positions


def generate(
  model,
  tokens_BTC,
  positions: Positions,
  *,
  length: int,
  start: int | None = None,
  stop: int | None = None,
  key=None,
  temperature=1.0,
):
  """`length` symbols for every row, (B, length) int32; after its first `stop` a row holds stops.

  key: None for the most probable symbols, else they are drawn at this temperature (above 0). stop: None to go on to the
  end. The rest is as in `decode.greedy`, and so are the refusals.
  """
  check(model, positions, length=length, start=start, stop=stop)
  endless = stop is None
  changed = Changed(model, key, temperature, endless)
  return decode.greedy(
    changed, tokens_BTC, positions, stop=changed.end if endless else stop, length=length, start=start
  )


def check(model, positions: Positions, *, length: int, start: int | None, stop: int | None) -> None:
  """Refused where `generate` would be, as far as the arrays at hand tell."""
  decode.check(
    model, positions, start=start, stop=0 if stop is None else stop, length=length
  )  # any symbol can be a stop


class Changed:
  """A model whose logits carry noise and, when `endless`, one symbol more that is never chosen; all else is its own."""

  def __init__(self, model, key, temperature, endless: bool):
    self.model, self.key, self.temperature, self.endless = model, key, temperature, endless
    own = model.vocabulary
    self.end = own.outputs
    more = (own.inputs[0] + 1, *own.inputs[1:])
    self.vocabulary = own._replace(inputs=more, outputs=own.outputs + 1) if endless else own

  def __getattr__(self, name: str):
    return getattr(self.model, name)

  def __call__(self, inputs, *, carry=None):
    logits_BTRV, carry = self.model(inputs, carry=carry)
    if self.key is not None:
      logits_BTRV = logits_BTRV / self.temperature + self._noise(logits_BTRV.shape, inputs.positions)
    if self.endless:
      logits_BTRV = jnp.pad(logits_BTRV, [(0, 0)] * 3 + [(0, 1)], constant_values=-jnp.inf)
    return logits_BTRV, carry

  def _noise(self, shape, positions: Positions):
    """Gumbel numbers (B, T, R, V), one draw per row and position."""
    B, T, *rest = shape
    pos_BT = jnp.broadcast_to(jnp.asarray(positions.pos_BT), (B, T))
    keys_B = jax.vmap(lambda row: jax.random.fold_in(self.key, row))(jnp.arange(B))
    draw = lambda key, pos: jax.random.gumbel(jax.random.fold_in(key, pos), rest)  # noqa: E731
    return jax.vmap(lambda key, pos_T: jax.vmap(lambda pos: draw(key, pos))(pos_T))(keys_B, pos_BT)
