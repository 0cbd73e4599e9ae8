"""English prose that comes with Python: the reference texts behind its `help()`, as bytes of plain ASCII.

The text differs between versions of Python, so its hash is taken here and stored with every trial that reads it.
"""

import ast
import functools
import hashlib

from train.corpora import package

PACKAGE = "pydoc_data"
SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
STRETCH = 4096  # characters; of twenty stretches in a row the last two are for validation and test
SPLITS = {"train": range(18), "validation": range(18, 19), "test": range(19, 20)}


@functools.cache
def text() -> str:
  """All texts one after another, in the order of their names, without the characters that are not in SYMBOLS."""
  tree = ast.parse(_path().read_text("utf-8"))
  topics = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
  return "".join(c for name in sorted(topics) for c in topics[name] + "\n" if c in SYMBOLS)


@functools.cache
def split(name: str) -> bytes:
  """The numbers into SYMBOLS of one split's stretches of the text, one after another.

  All over the text, because its first and last topics differ in kind.
  """
  number = {symbol: index for index, symbol in enumerate(SYMBOLS)}
  starts = range(0, len(text()), STRETCH)
  chosen = [text()[start : start + STRETCH] for turn, start in enumerate(starts) if turn % 20 in SPLITS[name]]
  return bytes(number[c] for c in "".join(chosen))


def _path():
  return package.find(PACKAGE) / "topics.py"


SHA256 = hashlib.sha256(_path().read_bytes()).hexdigest()
