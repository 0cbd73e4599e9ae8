"""What a task asks of a model: how many symbols come in and go out."""

from typing import NamedTuple


class Vocabulary(NamedTuple):
  """Sizes of the symbol sets of one task.

  A token may have several fields (a key and a value, say); its embedding is the sum over the fields.
  """

  inputs: tuple[int, ...]  # one size per field of the main sequence
  outputs: int  # classes per prediction
  readouts: int = 1  # predictions per position
  source: tuple[int, ...] = ()  # fields of the source sequence; empty without an encoder
