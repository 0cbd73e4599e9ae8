"""A fact at a set distance: what a bounded window or segment must still see (Dai et al. 2019; Beltagy et al. 2020)."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole


class Fact(Task):
  """Noise, in it one cue with a value, `distance` tokens before the last token, which asks for that value.

  One row with length=7, distance=4, symbols=9; C is the cue (number symbols + 1), ? the question (symbols + 2), and 0
  says that a field is empty::

      word     3  8  C  1  8  2  ?
      value    0  0  6  0  0  0  0
      target   -  -  -  -  -  -  5      value 6 is class 5

  With `distractors` every noise symbol bears a value of its own, and only the cue tells which one counts. Nothing else
  in the row says anything about the answer: whoever cannot see `distance` tokens back is right one time in `values`.
  """

  def __init__(
    self, *, length: int = 48, distance: int = 24, values: int = 16, symbols: int = 16, distractors: bool = False
  ):
    self.length = whole("length", length, 2)
    self.distance = whole("distance", distance, 1, length - 1)
    self.values, self.symbols = whole("values", values, 2), whole("symbols", symbols, 1)
    self.distractors = flag("distractors", distractors)
    self.vocabulary = Vocabulary((symbols + 3, values + 1), values)
    self.floor, self.ceiling, self.exact_entropy = 1 / values, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` tokens; the question is the last."""
    place_T = jnp.arange(self.length)
    asks_T, fact_T = place_T == self.length - 1, place_T == self.length - 1 - self.distance
    noise_BT, drawn_BT = jax.random.uniform(key, (2, size, self.length))
    noise_BT, drawn_BT = ((u * n).astype(jnp.int32) + 1 for u, n in ((noise_BT, self.symbols), (drawn_BT, self.values)))
    word_BT = jnp.where(fact_T, self.symbols + 1, jnp.where(asks_T, self.symbols + 2, noise_BT))
    value_BT = jnp.where(~asks_T if self.distractors else fact_T, drawn_BT, 0)
    answer_B = drawn_BT[:, -1 - self.distance] - 1
    targets_BTR = jnp.where(asks_T[None, :, None], answer_B[:, None, None], 0)
    weights_BTR = jnp.broadcast_to(asks_T[None, :, None], targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(jnp.stack([word_BT, value_BT], -1), mask.rows(self.length))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
