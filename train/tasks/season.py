"""A seasonal series whose best forecast is known: x_t = x_{t-period} + e_t on a circle (Box & Jenkins 1970, ch. 9)."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, real, whole

SALT = 19700101  # of the season that the control names


class Season(Task):
  """Every row has its own random season of `period` levels, which drifts: each time a level moves by -1, 0 or 1.

  A language model (kind=gpt) predicts the next level as soon as it has seen one season; levels lie on a circle and move
  with probability `noise`, up or down alike. One row with levels=12, period=3, length=8::

      tokens   4  9  1  4 10  1  5 10
      targets  -  -  4 10  1  5 10  1

  The season is random in phase and shape, so the law is the same at all times. Nobody can be right more often than
  1 - noise, or noise / 2 where that is more, and the loss is at least the entropy of a move.

  With `absolute` the rows are the same but the answers are not: they are the levels of one fixed season that begins at
  position 0 in every row and moves by the same e_t, so only who knows the absolute position is right.
  """

  def __init__(
    self, *, levels: int = 12, period: int = 6, length: int = 32, noise: float = 0.2, absolute: bool = False
  ):
    self.levels, self.period = whole("levels", levels, 3), whole("period", period, 2)
    self.length, self.absolute = whole("length", length, period), flag("absolute", absolute)
    self.asks_for_next = not absolute
    self.noise = real("noise", noise, 0.0, 1.0)
    order = np.random.default_rng(SALT).permutation(levels * -(-period // levels))  # no level twice if they suffice
    self.table_P = order[:period].astype(np.int32) % levels
    self.vocabulary = Vocabulary((levels,), levels)
    self.floor = float(_shares(self).max()) if absolute else 1 / levels
    self.ceiling = max(1 - self.noise, self.noise / 2)
    moves = (1 - self.noise, self.noise / 2, self.noise / 2)
    self.exact_entropy = sum(-share * math.log(share) for share in moves if share)

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of length + 1 levels, of which the last is only asked for."""
    seasons = -(-(self.length + 1) // self.period)
    uniform_BNP = jax.random.uniform(key, (size, seasons, self.period))
    first_B1P, chance_BNP = (uniform_BNP[:, :1] * self.levels).astype(jnp.int32), uniform_BNP[:, 1:]
    move_BNP = jnp.where(chance_BNP < self.noise / 2, -1, (chance_BNP < self.noise).astype(jnp.int32))
    level_BNP = jnp.cumsum(jnp.concatenate([first_B1P, move_BNP], 1), 1) % self.levels
    series_BT = level_BNP.reshape(size, -1)[:, : self.length + 1]
    later_BNP = (self.table_P + move_BNP) % self.levels if self.absolute else level_BNP[:, 1:]
    asked_BT = jnp.concatenate([first_B1P, later_BNP], 1).reshape(size, -1)[:, 1 : self.length + 1]
    judged_T1 = (jnp.arange(self.length) >= self.period - 1)[:, None]
    targets_BTR = jnp.where(judged_T1, asked_BT[..., None], 0)
    weights_BTR = jnp.broadcast_to(judged_T1, targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(series_BT[:, :-1, None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))


def _shares(task: Season) -> np.ndarray:
  """How often each level of the fixed season is asked for, moves included."""
  share_V = np.zeros(task.levels)
  for t in range(task.period, task.length + 1):
    for move, share in ((-1, task.noise / 2), (0, 1 - task.noise), (1, task.noise / 2)):
      share_V[(task.table_P[t % task.period] + move) % task.levels] += share
  return share_V / share_V.sum()
