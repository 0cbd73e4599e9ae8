"""Encoder over symbols (Devlin et al. 2019): logits_BTRV = W_out encoder(sum over fields of E_c[token_c])."""

from flax import nnx

from model.errors import Refused
from model.language import Embedding, Inputs, Readout
from model.transformer import Encoder
from model.vocabulary import Vocabulary


class Bert(nnx.Module):
  """Bidirectional encoder: every token sees its whole segment."""

  built_of = "blocks"
  reads_source = False

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
    x_BTM, _ = self.encoder(x_BTM, inputs.positions, mark_BT=mark_BT, key=key, record=record)
    return self.readout(x_BTM), None
