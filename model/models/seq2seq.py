"""Encoder-decoder over symbols (Vaswani et al. 2017): logits_BTRV = W_out decoder(tokens, encoder(source))."""

import jax
from flax import nnx

from model.errors import Refused
from model.language import Embedding, Inputs, Readout
from model.mask import Positions
from model.transformer import Decoder, Encoder
from model.vocabulary import Vocabulary


class Seq2Seq(nnx.Module):
  """Encoder and causal decoder with cross-attention; they share nothing, and cross-attention stays in its segment."""

  built_of = "blocks"
  reads_source = True

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.source_embedding = Embedding(vocabulary.source, settings["width"], dtype)
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.encoder = Encoder(settings)
    self.decoder = Decoder(settings, cross=True)
    self.readout = Readout(settings["width"], vocabulary)

  def encode(self, source_BSC, source_positions: Positions, *, key=None, record=None):
    """The memory (B, S, M) that the decoder looks at."""
    x_BSM, mark_BS = self.source_embedding(source_BSC), self.encoder.marks(source_BSC)
    return self.encoder(x_BSM, source_positions, mark_BT=mark_BS, key=key, record=record)[0]

  def start(self, source_BSC, source_positions: Positions, length: int) -> tuple:
    """A carry of `length` empty slots that holds the encoded source."""
    memory_BSM = self.encode(source_BSC, source_positions)
    return self.decoder.start(source_BSC.shape[0], length, memory_BSM.dtype, memory_BSM, source_positions)

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry; with a carry the source is the one that `start` encoded."""
    key, source_key = (None, None) if key is None else jax.random.split(key)
    memory_BSM, memory_positions = None, inputs.source_positions
    if carry is None:
      if inputs.source_BSC is None or memory_positions is None:
        raise Refused(
          "an encoder-decoder was called without a source; give Inputs(source_BSC=..., source_positions=...)"
        )
      memory_BSM = self.encode(inputs.source_BSC, memory_positions, key=source_key, record=record)
    x_BTM, mark_BT = self.embedding(inputs.tokens_BTC), self.decoder.marks(inputs.tokens_BTC)
    memory = {"memory_BSM": memory_BSM, "memory_positions": memory_positions}
    x_BTM, carry = self.decoder(x_BTM, inputs.positions, mark_BT=mark_BT, **memory, carry=carry, key=key, record=record)
    return self.readout(x_BTM), carry
