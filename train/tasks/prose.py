"""Language modeling of English prose, character by character, with a context of chosen length (Mikolov et al. 2012)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.corpora import pydoc_data
from train.tasks.task import Batch, Task, check_split, whole


class Prose(Task):
  """Predict the next character of a random stretch of the texts behind Python's `help()`.

  One row with length=8; _ is a space::

      tokens   T  h  e  _  w  h  i  l
      targets  h  e  _  w  h  i  l  e

  Nothing before the stretch can be seen: `length` is the context of the last character, and half of it the mean.
  Validation and test are every nineteenth and twentieth stretch of the text. The floor is the share of the most
  frequent character; the ceiling is an upper bound only.
  """

  needs = ("pydoc_data",)
  ceiling = 1.0
  asks_for_next = True

  def __init__(self, *, length: int = 64):
    self.length = whole("length", length, 1, 4096)
    self.vocabulary = Vocabulary((len(pydoc_data.SYMBOLS),), len(pydoc_data.SYMBOLS))
    self.floor = float(np.bincount(_array("test")).max() / len(_array("test")))

  def data(self, split: str) -> np.ndarray:
    """The split's characters in order, uint8; validation and test have the same number."""
    check_split(split)
    return _array(split) if split == "train" else _array(split)[: min(len(_array("validation")), len(_array("test")))]

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows that begin anywhere in `data`."""
    text_N = jnp.asarray(data)
    first_B = jax.random.randint(key, (size,), 0, len(text_N) - self.length)
    row_BT = text_N[first_B[:, None] + jnp.arange(self.length + 1)].astype(jnp.int32)
    targets_BTR = row_BT[:, 1:, None]
    inputs = Inputs(row_BT[:, :-1, None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), jnp.zeros_like(targets_BTR))

  def data_sha256(self) -> dict[str, str]:
    """Hash of the file."""
    return {pydoc_data.PACKAGE: pydoc_data.SHA256}


def _array(split: str) -> np.ndarray:
  return np.frombuffer(pydoc_data.split(split), np.uint8)
