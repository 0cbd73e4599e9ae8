"""Language modeling of a text file of one's own, by characters or bytes, with a context of chosen length.

For models that read from left to right (model.kind gpt or rnn); one that looks both ways sees the answer.
"""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, check_split, whole

HELD = 20  # one part in so many is for validation, and one for the test


class Text(Task):
  """Predict the next character (or byte) of a random stretch of the file at `path`.

  One row with length=8, from a file that holds "the cat sat"; _ is a space::

      tokens   t  h  e  _  c  a  t  _
      targets  h  e  _  c  a  t  _  s

  The symbols are those that the file holds, in the order of their numbers. The file is cut by place, not at random:
  the first 18 twentieths are for training, the next for validation, the last for the test, so that no stretch is in
  two of them. Nothing before a stretch can be seen: `length` is the context of its last symbol, half of it the mean.
  The floor is the share of the test's most frequent symbol; the ceiling is an upper bound only.
  """

  ceiling = 1.0
  asks_for_next = True

  def __init__(self, *, path: str, length: int = 64, unit: str = "character"):
    self.length, self.unit = whole("length", length, 1, 4096), unit
    if unit not in ("character", "byte"):
      raise Refused(f"task.unit={unit!r} is unknown; allowed: character, byte")
    self.file = _read(path, unit)
    self.symbols = self.file.symbols  # texts, or numbers of bytes
    _check(self.file, path, unit, self.length)
    self.vocabulary = Vocabulary((len(self.symbols),), len(self.symbols))
    test = self.data("test")
    self.floor = float(np.bincount(test).max() / len(test))

  def data(self, split: str) -> np.ndarray:
    """The split's symbols in order, (N,), the smallest unsigned integers that hold them; two splits have N // 20."""
    check_split(split)
    numbers_N = self.file.numbers_N
    held = len(numbers_N) // HELD
    ends = {"train": (0, -2 * held), "validation": (-2 * held, -held), "test": (-held, None)}
    return numbers_N[slice(*ends[split])]

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows that begin anywhere in `data`."""
    text_N = jnp.asarray(data)
    first_B = jax.random.randint(key, (size,), 0, len(text_N) - self.length)
    row_BT = text_N[first_B[:, None] + jnp.arange(self.length + 1)].astype(jnp.int32)
    targets_BTR = row_BT[:, 1:, None]
    inputs = Inputs(row_BT[:, :-1, None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), jnp.zeros_like(targets_BTR))

  def encode(self, text: str) -> list[int]:
    """The numbers of a text's symbols. Raises Refused for symbols that the file does not hold."""
    spelled = list(text.encode() if self.unit == "byte" else text)
    number = {symbol: index for index, symbol in enumerate(self.symbols)}
    if foreign := sorted({symbol for symbol in spelled if symbol not in number}):
      shown = ", ".join(f"{symbol:#04x}" if isinstance(symbol, int) else repr(symbol) for symbol in foreign[:8])
      held = "bytes" if self.unit == "byte" else "characters"
      raise Refused(f"{shown} stands nowhere in the file of this task; allowed: its {len(number)} {held}")
    return [number[symbol] for symbol in spelled]

  def decode(self, numbers: Iterable[int]) -> str:
    """The text that these numbers spell; bytes that are no UTF-8 become the sign for what cannot be read.

    Raises Refused for a number that is none of a symbol.
    """
    numbers = [int(number) for number in numbers]
    if wrong := [number for number in numbers if not 0 <= number < len(self.symbols)]:
      raise Refused(f"{wrong[0]} is no symbol of this text; allowed: 0 to {len(self.symbols) - 1}")
    spelled = [self.symbols[number] for number in numbers]
    if self.unit == "byte":
      return bytes(int(symbol) for symbol in spelled).decode(errors="replace")
    return "".join(map(str, spelled))

  def data_sha256(self) -> dict[str, str]:
    """Hash of the file, under the name of the option that names it."""
    return {"task.path": self.file.sha256}


class File(NamedTuple):
  """A file as numbers into its own symbols."""

  symbols: tuple[str | int, ...]
  numbers_N: np.ndarray
  sha256: str


def _read(name: str, unit: str) -> File:
  try:
    content = Path(name).expanduser().read_bytes()
  except (OSError, ValueError) as error:  # ValueError: a NUL in the name
    why = getattr(error, "strerror", None) or error
    raise Refused(f"task.path={name!r} cannot be read ({why}); give a text file from the current folder") from None
  return _numbered(content, name, unit)


@functools.lru_cache(maxsize=4)
def _numbered(content: bytes, name: str, unit: str) -> File:
  if b"\0" in content:
    raise Refused(f"task.path={name!r} holds a byte 0 and is no text; give a file of plain text")
  code_N = np.frombuffer(content, np.uint8) if unit == "byte" else _characters(content, name)
  code_V = np.flatnonzero(np.bincount(code_N))
  number = np.zeros(int(code_V.max(initial=0)) + 1, np.min_scalar_type(len(code_V)))  # of every code up to the last
  number[code_V] = np.arange(len(code_V))
  symbols = tuple(int(code) if unit == "byte" else chr(code) for code in code_V)
  return File(symbols, number[code_N], hashlib.sha256(content).hexdigest())


def _characters(content: bytes, name: str) -> np.ndarray:
  """The code points of a text in UTF-8, without the mark that some editors begin it with."""
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise Refused(
      f"task.path={name!r} is not UTF-8 (byte {content[error.start]:#x} at {error.start}); "
      "save it as UTF-8, or set task.unit=byte"
    ) from None
  return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _check(file: File, name: str, unit: str, length: int) -> None:
  """Refuses a file that no row of validation and test fits into, or that has nothing to tell apart."""
  found, needed = len(file.numbers_N), HELD * (length + 1)
  if not found:
    raise Refused(f"task.path={name!r} is empty; give a text file")
  if found < needed:
    raise Refused(
      f"task.path={name!r} has {found} {unit}s, too few for rows of task.length={length}; "
      f"allowed: {needed} or more, or a smaller task.length"
    )
  if len(file.symbols) < 2:
    raise Refused(f"task.path={name!r} holds one {unit} over and over; give a text with two or more different ones")
