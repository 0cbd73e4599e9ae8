"""What all models over symbols have: tokens with fields going in, their embedding, and logits coming out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model import initial
from model.errors import Refused
from model.linear import Linear
from model.mask import Positions
from model.vocabulary import Vocabulary


class Inputs(NamedTuple):
  """Tokens with C fields each, where they stand, and the source sequence of an encoder-decoder."""

  tokens_BTC: jax.Array
  positions: Positions
  source_BSC: jax.Array | None = None
  source_positions: Positions | None = None


class Embedding(nnx.Module):
  """Sum over the fields of a row of each field's table; a symbol outside a table gives NaN, never a neighbor's row.

  Where tokens have several fields, symbol 0 of a field says that the field is empty and adds nothing.
  """

  def __init__(self, fields: tuple[int, ...], width: int, dtype: str):
    self.tables = nnx.List(initial.param((size, width), "embedding", size, width) for size in fields)
    self.dtype = dtype

  def __call__(self, tokens_BTC):
    if tokens_BTC.ndim != 3 or tokens_BTC.shape[-1] != len(self.tables):
      raise Refused(f"tokens of shape {tokens_BTC.shape} do not have the {len(self.tables)} fields of this vocabulary")
    rows = [t[...].at[tokens_BTC[..., c]].get(mode="fill", fill_value=jnp.nan) for c, t in enumerate(self.tables)]
    if len(rows) > 1:
      rows = [jnp.where(tokens_BTC[..., c, None] == 0, 0.0, row) for c, row in enumerate(rows)]
    return sum(rows[1:], rows[0]).astype(self.dtype)


class Readout(Linear):
  """Final layer: R predictions of V classes at each position, in float32."""

  def __init__(self, width: int, vocabulary: Vocabulary):
    super().__init__(width, vocabulary.readouts * vocabulary.outputs)
    self.shape = (vocabulary.readouts, vocabulary.outputs)

  def __call__(self, x_BTM):
    return super().__call__(x_BTM, jnp.float32).reshape(*x_BTM.shape[:2], *self.shape)


def check_tokens(inputs: Inputs, vocabulary: Vocabulary) -> None:
  """Refuses symbols outside the vocabulary; reads the arrays on the host, so call it outside of jit."""
  for name, tokens, sizes in (
    ("tokens", inputs.tokens_BTC, vocabulary.inputs),
    ("source", inputs.source_BSC, vocabulary.source),
  ):
    if tokens is None:
      continue
    tokens = np.asarray(tokens)
    if tokens.ndim != 3 or tokens.shape[-1] != len(sizes):
      raise Refused(f"{name} of shape {tokens.shape} should be (batch, length, {len(sizes)})")
    for field, size in enumerate(sizes):
      low, high = tokens[..., field].min(initial=0), tokens[..., field].max(initial=0)
      if low < 0 or high >= size:
        raise Refused(f"{name} field {field} holds symbol {low if low < 0 else high}; allowed are 0 to {size - 1}")
