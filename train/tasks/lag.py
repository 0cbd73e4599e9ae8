"""Name a symbol shown long ago: the classic test of recurrent memory (Hochreiter & Schmidhuber 1997)."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, whole


class Lag(Task):
  """A marked symbol, `lag` - 1 distractors from the same alphabet, then the question; loss on the question only.

  One row with lag=4, memories=1; field 2 is 1 at what must be remembered and 2 at the question::

      symbol   5  0  7  5  0
      mark     1  0  0  0  2
      target   -  -  -  -  5

  With `memories` > 1 that many marked symbols open the row and as many questions close it, in the same order: every
  question is asked `lag` tokens after its symbol.
  """

  def __init__(self, *, lag: int = 32, symbols: int = 16, memories: int = 1):
    self.memories = whole("memories", memories, 1)
    self.lag, self.symbols = whole("lag", lag, memories), whole("symbols", symbols, 2)
    self.vocabulary = Vocabulary((symbols, 3), symbols)
    self.floor, self.ceiling, self.exact_entropy = 1 / symbols, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of lag + memories tokens."""
    shown_BT = jax.random.randint(key, (size, self.lag), 0, self.symbols)
    symbol_BT = jnp.pad(shown_BT, ((0, 0), (0, self.memories)))
    place_T = jnp.arange(self.lag + self.memories)
    asked_T = place_T >= self.lag
    mark_T = jnp.where(asked_T, 2, (place_T < self.memories).astype(jnp.int32))
    tokens_BTC = jnp.stack([symbol_BT, jnp.broadcast_to(mark_T, symbol_BT.shape)], -1)
    targets_BTR = jnp.where(asked_T[None, :, None], jnp.roll(symbol_BT, self.lag, 1)[..., None], 0)
    weights_BTR = jnp.broadcast_to(asked_T[None, :, None], targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(tokens_BTC, mask.rows(self.lag + self.memories))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
