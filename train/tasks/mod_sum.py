"""The sum of two symbols found by attention, modulo their number: what averaging and one linear map cannot compute."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, whole


class ModSum(Task):
  """Symbols of which two are marked; the last token asks for their sum modulo `symbols`.

  One row with length=5, symbols=8::

      symbol   3  7  1  6  2  0
      mark     0  1  0  1  0  2
      target   -  -  -  -  -  5      7 + 6 = 13 = 5 modulo 8

  The sum modulo n is no linear function of symbol vectors that are added up, and knowing one of the two symbols says
  nothing about it.
  """

  def __init__(self, *, length: int = 12, symbols: int = 8):
    self.length, self.symbols = whole("length", length, 2), whole("symbols", symbols, 2)
    self.vocabulary = Vocabulary((symbols, 3), symbols)
    self.floor, self.ceiling, self.exact_entropy = 1 / symbols, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` symbols and a question."""
    symbol_key, first_key, gap_key = jax.random.split(key, 3)
    symbol_BT = jax.random.randint(symbol_key, (size, self.length), 0, self.symbols)
    first_B1 = jax.random.randint(first_key, (size, 1), 0, self.length)
    other_B1 = (first_B1 + jax.random.randint(gap_key, (size, 1), 1, self.length)) % self.length
    place_T = jnp.arange(self.length)
    marked_BT = (place_T == first_B1) | (place_T == other_B1)
    answer_B = jnp.where(marked_BT, symbol_BT, 0).sum(1) % self.symbols
    tokens_BTC = jnp.stack([symbol_BT, marked_BT.astype(jnp.int32)], -1)
    tokens_BTC = jnp.concatenate([tokens_BTC, jnp.broadcast_to(jnp.array([[[0, 2]]]), (size, 1, 2))], 1)
    asked_T1 = (jnp.arange(self.length + 1) == self.length)[:, None]
    targets_BTR = jnp.where(asked_T1, answer_B[:, None, None], 0)
    weights_BTR = jnp.broadcast_to(asked_T1, targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(tokens_BTC, mask.rows(self.length + 1))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
