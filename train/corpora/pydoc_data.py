"""English prose that comes with Python: the reference texts behind its `help()`, as bytes of plain ASCII.

The text differs between versions of Python, so its hash is taken here and stored with every trial that reads it.
"""

import ast
import functools
import hashlib

from train.corpora import package

PACKAGE = "pydoc_data"
SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
SHARES = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}  # of the text, in its order


@functools.cache
def text() -> str:
  """All texts one after another, in the order of their names, without the characters that are not in SYMBOLS."""
  tree = ast.parse(_path().read_text("utf-8"))
  topics = next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
  return "".join(c for name in sorted(topics) for c in topics[name] + "\n" if c in SYMBOLS)


@functools.cache
def split(name: str) -> bytes:
  """The numbers into SYMBOLS of one split's part of the text."""
  number = {symbol: index for index, symbol in enumerate(SYMBOLS)}
  whole, (start, stop) = text(), SHARES[name]
  return bytes(number[c] for c in whole[int(start * len(whole)) : int(stop * len(whole))])


def _path():
  return package.find(PACKAGE) / "topics.py"


SHA256 = hashlib.sha256(_path().read_bytes()).hexdigest()
