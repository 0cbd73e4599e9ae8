"""Say a string twice (Kitaev et al. 2020, section 4): 0 w 0 w, judged on the second w."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, whole


class Duplicate(Task):
  """A language model reads 0 w 0 w without its last symbol and predicts the next one; loss on the second w only.

  One row with length=3, symbols 1..4::

      tokens   0  4  1  1  0  4  1
      targets  -  -  -  -  4  1  1

  Whoever finds the same place one string earlier is always right: a look back over length + 1 tokens.
  """

  asks_for_next = True

  def __init__(self, *, length: int = 15, symbols: int = 16):
    self.length, self.symbols = whole("length", length, 1), whole("symbols", symbols, 2)
    self.vocabulary = Vocabulary((symbols + 1,), symbols + 1)
    self.floor, self.ceiling, self.exact_entropy = 1 / symbols, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of independent uniform symbols."""
    word_BT = jax.random.randint(key, (size, self.length), 1, self.symbols + 1)
    once_BT = jnp.pad(word_BT, ((0, 0), (1, 0)))
    twice_BT = jnp.concatenate([once_BT, once_BT], 1)
    judged_T1 = (jnp.arange(2 * self.length + 1) > self.length)[:, None]
    targets_BTR = jnp.where(judged_T1, twice_BT[:, 1:, None], 0)
    weights_BTR = jnp.broadcast_to(judged_T1, targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(twice_BT[:, :-1, None], mask.rows(2 * self.length + 1))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
