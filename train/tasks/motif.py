"""A motif returns transposed: symbolic music in which only distances matter (Huang et al. 2018, Music Transformer)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole

SALT = 20180912  # of the table that the control names


class Motif(Task):
  """Random notes; a marker and a motif of `notes` notes, later the marker and the motif moved by one random interval.

  A language model (kind=gpt) predicts the return from its second note on; the first tells the interval, which is 1 to
  `intervals` steps modulo `pitches`. One row with notes=3, pitches=12, length=12; M is the marker (number `pitches`)::

      tokens   5  M  2  9  4  7  0  M  6  1  8  3      2 9 4 moved by 4 steps
      targets  -  -  -  -  -  -  -  -  1  8  -  -

  The gap between motif and return is uniform from 0 to length - 2 (notes + 1), so a longer row has longer gaps, and
  so is what precedes the motif within the rest. The law is the same wherever the motif stands, and within a row every
  note of the return is equally far from its model. Slices split the gaps in the middle.

  With `absolute` the rows are the same but the answers are not: they are a fixed table of pitches by position, whatever
  was heard, so only who knows the absolute position is right. The table of a longer row begins with that of a shorter.
  """

  slices = ("short gap", "long gap")

  def __init__(
    self, *, notes: int = 8, pitches: int = 12, intervals: int = 4, length: int = 32, absolute: bool = False
  ):
    self.notes, self.pitches = whole("notes", notes, 2), whole("pitches", pitches, 2)
    self.intervals = whole("intervals", intervals, 1, pitches - 1)
    self.length, self.absolute = whole("length", length, 2 * notes + 2), flag("absolute", absolute)
    self.asks_for_next = not absolute
    self.table_T = np.array([np.random.default_rng((SALT, t)).integers(pitches) for t in range(length)], np.int32)
    self.vocabulary = Vocabulary((pitches + 1,), pitches)
    self.floor = float(_shares(self).max()) if absolute else 1 / pitches
    self.ceiling, self.exact_entropy = 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` tokens."""
    uniform = jax.random.uniform(key, (size, self.length + 3))  # one call to the generator: compiles and runs faster
    gap_B1, lead_B1, interval_B1, note_BT = jnp.split(uniform, (1, 2, 3), 1)
    room = self.length - 2 * self.notes - 2
    gap_B1 = (gap_B1 * (room + 1)).astype(jnp.int32)
    lead_B1 = (lead_B1 * (room + 1 - gap_B1)).astype(jnp.int32)
    interval_B1 = 1 + (interval_B1 * self.intervals).astype(jnp.int32)
    note_BT = (note_BT * self.pitches).astype(jnp.int32)
    apart_B1 = self.notes + 1 + gap_B1
    back_B1 = lead_B1 + apart_B1  # where the second marker stands
    place_T = jnp.arange(self.length)
    earlier_BT = jnp.take_along_axis(note_BT, (place_T - apart_B1) % self.length, 1)
    returns_BT = (place_T > back_B1) & (place_T <= back_B1 + self.notes)
    note_BT = jnp.where(returns_BT, (earlier_BT + interval_B1) % self.pitches, note_BT)
    tokens_BT = jnp.where((place_T == lead_B1) | (place_T == back_B1), self.pitches, note_BT)
    next_BT = jnp.roll(jnp.broadcast_to(self.table_T, note_BT.shape) if self.absolute else note_BT, -1, 1)
    judged_BTR = ((place_T > back_B1) & (place_T < back_B1 + self.notes))[..., None]
    targets_BTR = jnp.where(judged_BTR, next_BT[..., None], 0)
    slice_BTR = jnp.broadcast_to((2 * gap_B1 > room).astype(jnp.int32)[..., None], targets_BTR.shape)
    inputs = Inputs(tokens_BT[..., None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, judged_BTR.astype(jnp.float32), slice_BTR)


def _shares(task: Motif) -> np.ndarray:
  """How often each pitch of the table is asked for: all gaps are equally likely, and so are the leads of a gap."""
  share_V, room = np.zeros(task.pitches), task.length - 2 * task.notes - 2
  for gap in range(room + 1):
    for lead in range(room - gap + 1):
      first = lead + task.notes + 1 + gap + 2  # the second note of the return
      np.add.at(share_V, task.table_T[first : first + task.notes - 1], 1 / (room - gap + 1))
  return share_V / share_V.sum()
