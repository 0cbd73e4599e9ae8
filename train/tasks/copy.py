"""Copy or reverse a sequence with an encoder-decoder (Graves et al. 2014; Sutskever et al. 2014)."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole


class Copy(Task):
  """The decoder repeats the source symbol by symbol, given the correct symbols so far.

  One row with length=4, reverse=True; B is the start symbol (number `symbols`)::

      source   3  1  1  6
      tokens   B  6  1  1
      targets  6  1  1  3
  """

  slices = ("first half", "second half")

  def __init__(self, *, length: int = 12, symbols: int = 16, reverse: bool = False):
    self.length, self.symbols = whole("length", length, 1), whole("symbols", symbols, 2)
    self.reverse = flag("reverse", reverse)
    self.vocabulary = Vocabulary((symbols + 1,), symbols, source=(symbols,))
    self.floor, self.ceiling, self.exact_entropy = 1 / symbols, 1.0, 0.0
    self.start = symbols

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of independent uniform symbols."""
    source_BS = jax.random.randint(key, (size, self.length), 0, self.symbols)
    targets_BT = source_BS[:, ::-1] if self.reverse else source_BS
    tokens_BT = jnp.pad(targets_BT[:, :-1], ((0, 0), (1, 0)), constant_values=self.symbols)
    positions = mask.rows(self.length)
    targets_BTR = targets_BT[..., None]
    half_T = (jnp.arange(self.length) >= (self.length + 1) // 2).astype(jnp.int32)
    slice_BTR = jnp.broadcast_to(half_T[None, :, None], targets_BTR.shape)
    inputs = Inputs(tokens_BT[..., None], positions, source_BS[..., None], positions)
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), slice_BTR)
