"""Name the token that stands a fixed distance away: the smallest task that cannot be solved without positions."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, whole


class Previous(Task):
  """Uniform symbols; the target at each position is the symbol `back` positions earlier (negative: later).

  One row with length=6, back=1; a position without such a neighbor has weight 0::

      tokens   4  9  9  2  7  0
      targets  -  4  9  9  2  7

  Without positions a model sees a bag of tokens at best; naming its most frequent one gives about .2 at length 16.
  """

  def __init__(self, *, length: int = 16, symbols: int = 16, back: int = 1):
    self.length, self.symbols = whole("length", length, 2), whole("symbols", symbols, 2)
    self.back = whole("back", back, 1 - length, length - 1)
    if back == 0:
      raise Refused("task.back is 0: every position would name itself; allowed: any other offset within the row")
    self.vocabulary = Vocabulary((symbols,), symbols)
    self.floor, self.ceiling, self.exact_entropy = 1 / symbols, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of independent uniform symbols."""
    tokens_BT = jax.random.randint(key, (size, self.length), 0, self.symbols)
    asked_T = jnp.arange(self.length) - self.back
    known_T1 = ((asked_T >= 0) & (asked_T < self.length))[:, None]
    targets_BTR = jnp.where(known_T1, jnp.roll(tokens_BT, self.back, axis=1)[..., None], 0)
    weights_BTR = jnp.broadcast_to(known_T1, targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(tokens_BT[..., None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
