"""Relations of two levels in one row: the word before, and the bracket that a bracket closes (Hewitt et al. 2020)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, whole


class Nested(Task):
  """Well-nested brackets of several kinds, each with a label; every token must say two labels of others.

  Readout 1 is local: the label of the token before. Readout 2 is global: the label of the bracket that a closing
  bracket closes, judged unless that is the token before, where both would be one. Slices are the two. One row with
  length=8, depth=3, brackets=2 (a closing bracket is number brackets + 1 or above; numbers count from 1)::

      bracket    (  [  (  )  ]  )  [  ]
      label      5  2  7  7  1  4  3  6
      target_1   -  5  2  7  7  1  4  3      classes count from 0: label 5 is class 4
      target_2   -  -  -  -  2  5  -  -

  Of all well-nested rows of at most `depth` open brackets each is equally likely; kinds and labels are uniform. The
  answers are determined by what stands before, so causal and bidirectional models can both be perfect.
  """

  slices = ("local", "global")

  def __init__(self, *, length: int = 24, depth: int = 4, brackets: int = 3, labels: int = 16):
    if whole("length", length, 4) % 2:
      raise Refused(f"task.length={length} leaves one bracket open; give an even number")
    self.length, self.depth = length, whole("depth", depth, 2, length // 2)
    self.brackets, self.labels = whole("brackets", brackets, 1), whole("labels", labels, 2)
    self.vocabulary = Vocabulary((2 * brackets + 1, labels + 1), labels, readouts=2)
    self.floor, self.ceiling, self.exact_entropy = 1 / labels, 1.0, 0.0
    self.opening_TH = _opening(length, depth)

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` tokens."""
    shape_BT, kind_BT, label_BT = jax.random.uniform(key, (3, size, self.length))
    opens_BT, match_BT = _nest(self, shape_BT.T)
    kind_BT, label_BT = ((u * n).astype(jnp.int32) + 1 for u, n in ((kind_BT, self.brackets), (label_BT, self.labels)))
    bracket_BT = jnp.where(opens_BT, kind_BT, jnp.take_along_axis(kind_BT, match_BT, 1) + self.brackets)
    place_T = jnp.arange(self.length)
    said_BTR = jnp.stack([jnp.roll(label_BT, 1, 1), jnp.take_along_axis(label_BT, match_BT, 1)], -1) - 1
    local_BT = jnp.broadcast_to(place_T > 0, opens_BT.shape)
    judged_BTR = jnp.stack([local_BT, ~opens_BT & (match_BT < place_T - 1)], -1)
    targets_BTR = jnp.where(judged_BTR, said_BTR, 0)
    slice_BTR = jnp.broadcast_to(jnp.arange(2, dtype=jnp.int32), targets_BTR.shape)
    inputs = Inputs(jnp.stack([bracket_BT, label_BT], -1), mask.rows(self.length))
    return Batch(inputs, targets_BTR, judged_BTR.astype(jnp.float32), slice_BTR)


def _opening(length: int, depth: int) -> np.ndarray:
  """Probability of an opening bracket at each place and height: its share of the ways to complete the row."""
  opening_TH = np.zeros((length, depth + 1), np.float32)
  ways_H = np.eye(1, depth + 1)[0]  # with nothing left to write only height 0 is complete
  for t in reversed(range(length)):
    up_H, down_H = np.append(ways_H[1:], 0.0), np.append(0.0, ways_H[:-1])
    total_H = up_H + down_H
    opening_TH[t] = np.divide(up_H, total_H, out=np.zeros_like(up_H), where=total_H > 0)
    ways_H = total_H / total_H.max()  # only ratios matter, and the numbers grow like 2^length
  return opening_TH


def _nest(task: Nested, uniform_TB: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Which tokens open a bracket, and the place of the bracket that a closing one closes (of an opening one its own)."""
  depth_D = jnp.arange(task.depth)

  def step(carry, drawn):
    height_B, place_BD = carry  # how many are open, and where
    uniform_B, opening_H, t = drawn
    opens_B = uniform_B < opening_H[height_B]
    top_BD = depth_D == (jnp.where(opens_B, height_B, height_B - 1))[:, None]
    place_BD = jnp.where(top_BD & opens_B[:, None], t, place_BD)
    match_B = jnp.where(top_BD, place_BD, 0).sum(1)
    return (jnp.where(opens_B, height_B + 1, height_B - 1), place_BD), (opens_B, match_B)

  size = uniform_TB.shape[1]
  start = jnp.zeros(size, jnp.int32), jnp.zeros((size, task.depth), jnp.int32)
  drawn = uniform_TB, jnp.asarray(task.opening_TH), jnp.arange(task.length)
  _, (opens_TB, match_TB) = jax.lax.scan(step, start, drawn)
  return opens_TB.T, match_TB.T
