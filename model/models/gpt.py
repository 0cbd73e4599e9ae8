"""Causal decoder over symbols (Radford et al. 2018): logits_BTRV = W_out decoder(sum over fields of E_c[token_c])."""

from flax import nnx

from model.language import Embedding, Inputs, Readout
from model.transformer import Decoder
from model.vocabulary import Vocabulary


class Gpt(nnx.Module):
  """Causal decoder without cross-attention: a token sees its segment up to itself."""

  built_of = "blocks"
  reads_source = False

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
    x_BTM, carry = self.decoder(x_BTM, inputs.positions, mark_BT=mark_BT, carry=carry, key=key, record=record)
    return self.readout(x_BTM), carry
