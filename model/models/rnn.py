"""Recurrent network over symbols, with attention or without (Mikolov et al. 2010): logits_BTRV = W_out cells(E x)."""

from flax import nnx

from model.errors import Refused
from model.language import Embedding, Inputs, Readout
from model.mask import Mask
from model.recurrent import Reading, Recurrent
from model.vocabulary import Vocabulary


class Rnn(nnx.Module):
  """Cells and, with reads = "after", attention over their own outputs: of earlier tokens, or of all in two ways."""

  built_of = "cells"
  reads_source = False

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    if settings["reads"] == "before":
      raise Refused("model.reads=before needs a source to read, which kind=rnn has not; use after or none")
    self.vocabulary = vocabulary
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.decoder = Recurrent(settings, direction=settings["direction"])
    self.reading = Reading(settings, cross=False) if settings["reads"] == "after" else None
    if self.reading is not None:
      self.reading.heads.mechanism.check(rule=self.decoder.rule)
    self.readout = Readout(settings["width"], vocabulary)

  def start(self, batch: int, length: int) -> tuple:
    """An empty carry; attention has room for `length` tokens."""
    dtype = self.embedding.dtype
    cache = None if self.reading is None else self.reading.heads.empty_cache(batch, length, dtype)
    return self.decoder.start(batch, dtype), cache

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry, which holds the tokens seen so far when one was given."""
    layers, cache = (None, None) if carry is None else carry
    x_BTM, positions = self.embedding(inputs.tokens_BTC), inputs.positions
    h_BTM, layers = self.decoder(x_BTM, positions, carry=layers, key=key)
    if self.reading is not None:
      mask = Mask(positions, positions, self.decoder.rule, self.reading.heads.marks(inputs.tokens_BTC))
      told = {"cache": cache, "record": record, "name": "decoder/self"}
      h_BTM, cache = self.reading(h_BTM, h_BTM, mask, key=key, **told)
    return self.readout(h_BTM), None if carry is None else (layers, cache)
