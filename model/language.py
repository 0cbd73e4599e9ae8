"""Whole models over symbols: Bert (Devlin et al. 2019), Gpt (Radford et al. 2018), Seq2Seq (Vaswani et al. 2017).

logits_BTRV = W_out stack(sum over fields of E_c[token_c] + position).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model import initial
from model.errors import Refused
from model.linear import Linear
from model.see import Where
from model.transformer import Decoder, Encoder
from model.vocabulary import Vocabulary


class Inputs(NamedTuple):
  """Tokens with C fields each, where they stand, and the source sequence of an encoder-decoder."""

  tokens_BTC: jax.Array
  where: Where
  source_BSC: jax.Array | None = None
  source_where: Where | None = None


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


class Bert(nnx.Module):
  """Bidirectional encoder: every token sees its whole segment."""

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.encoder = Encoder(settings)
    self.readout = Readout(settings["width"], vocabulary)

  def __call__(self, inputs: Inputs, *, carry=None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and no carry; `key` draws dropout, None = evaluation."""
    if carry is not None:
      raise Refused("a bidirectional encoder has no carry; use kind=gpt or kind=seq2seq to decode step by step")
    x_BTM, mark_BT = self.embedding(inputs.tokens_BTC), self.encoder.marks(inputs.tokens_BTC)
    x_BTM, _ = self.encoder(x_BTM, inputs.where, mark_BT=mark_BT, key=key, record=record)
    return self.readout(x_BTM), None


class Gpt(nnx.Module):
  """Causal decoder without cross-attention: a token sees its segment up to itself."""

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.decoder = Decoder(settings)
    self.readout = Readout(settings["width"], vocabulary)

  def start(self, batch: int, length: int) -> tuple:
    """An empty carry of `length` slots."""
    return self.decoder.start(batch, length, self.embedding.dtype)

  def remember(self, batch: int) -> tuple:
    """An empty carry for rows that go on where the last ones ended (model.segment, model.memory)."""
    return self.decoder.remember(batch, self.embedding.dtype)

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry, which holds the tokens seen so far when one was given."""
    x_BTM, mark_BT = self.embedding(inputs.tokens_BTC), self.decoder.marks(inputs.tokens_BTC)
    x_BTM, carry = self.decoder(x_BTM, inputs.where, mark_BT=mark_BT, carry=carry, key=key, record=record)
    return self.readout(x_BTM), carry


class Seq2Seq(nnx.Module):
  """Encoder and causal decoder with cross-attention; they share nothing, and cross-attention stays in its segment."""

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.source_embedding = Embedding(vocabulary.source, settings["width"], dtype)
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.encoder = Encoder(settings)
    self.decoder = Decoder(settings, cross=True)
    self.readout = Readout(settings["width"], vocabulary)

  def encode(self, source_BSC, source_where: Where, *, key=None, record=None):
    """The memory (B, S, M) that the decoder looks at."""
    x_BSM, mark_BS = self.source_embedding(source_BSC), self.encoder.marks(source_BSC)
    return self.encoder(x_BSM, source_where, mark_BT=mark_BS, key=key, record=record)[0]

  def start(self, source_BSC, source_where: Where, length: int) -> tuple:
    """A carry of `length` empty slots that holds the encoded source."""
    memory_BSM = self.encode(source_BSC, source_where)
    return self.decoder.start(source_BSC.shape[0], length, memory_BSM.dtype, memory_BSM, source_where)

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry; with a carry the source is the one that `start` encoded."""
    key, source_key = (None, None) if key is None else jax.random.split(key)
    memory_BSM, memory_where = None, inputs.source_where
    if carry is None:
      if inputs.source_BSC is None or memory_where is None:
        raise Refused("an encoder-decoder was called without a source; give Inputs(source_BSC=..., source_where=...)")
      memory_BSM = self.encode(inputs.source_BSC, memory_where, key=source_key, record=record)
    x_BTM, mark_BT = self.embedding(inputs.tokens_BTC), self.decoder.marks(inputs.tokens_BTC)
    memory = {"memory_BSM": memory_BSM, "memory_where": memory_where}
    x_BTM, carry = self.decoder(x_BTM, inputs.where, mark_BT=mark_BT, **memory, carry=carry, key=key, record=record)
    return self.readout(x_BTM), carry


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
