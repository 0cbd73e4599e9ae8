"""Memorize labels that follow no rule: how many a model can hold measures its capacity (Zhang et al. 2017)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, check_split, whole

SALT = 20161110


class Memorize(Task):
  """A fixed table of distinct random sequences, each with one random class, asked at the last position.

  One row with length=5::

      tokens   7  0  3  3  9
      targets  -  -  -  -  1

  Train, validation and test draw from the same table on purpose: the question is what was stored, not what
  generalizes. The table is a pure function of `table` and the sizes, the same for every seed: give each seed its own
  `table` where the variation between tables matters. Tables nest: the first rows of a larger one are the smaller one.
  """

  def __init__(self, *, sequences: int = 256, length: int = 8, symbols: int = 16, classes: int = 4, table: int = 0):
    self.sequences, self.length = whole("sequences", sequences, 1), whole("length", length, 1)
    self.symbols, self.classes = whole("symbols", symbols, 2), whole("classes", classes, 2)
    self.table = whole("table", table, 0)
    if sequences * 2 > symbols**length:
      raise Refused(
        f"task.sequences={sequences} is more than half of the {symbols**length} sequences that exist; "
        "raise task.length or task.symbols"
      )
    self.vocabulary = Vocabulary((symbols,), classes)
    self._rows = _table(sequences, length, symbols, classes, table)
    self.floor = float(np.bincount(self._rows[:, -1]).max() / sequences)
    self.ceiling, self.exact_entropy = 1.0, 0.0

  def data(self, split: str) -> np.ndarray:
    """The table, int32: the symbols of a row and then its class; one table for all splits."""
    check_split(split)
    return self._rows

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of the table, drawn with replacement."""
    rows = jnp.asarray(data)[jax.random.randint(key, (size,), 0, len(data))]
    last_T1 = (jnp.arange(self.length) == self.length - 1)[:, None]
    targets_BTR = jnp.where(last_T1, rows[:, -1:, None], 0)
    weights_BTR = jnp.broadcast_to(last_T1, targets_BTR.shape).astype(jnp.float32)
    inputs = Inputs(rows[:, :-1, None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))


def _table(sequences: int, length: int, symbols: int, classes: int, table: int) -> np.ndarray:
  random = np.random.default_rng((SALT, table))
  rows: dict[tuple[int, ...], int] = {}
  while len(rows) < sequences:
    row = tuple(random.integers(symbols, size=length).tolist())
    label = int(random.integers(classes))
    rows.setdefault(row, label)
  return np.array([(*row, label) for row, label in rows.items()], np.int32)
