"""A text file for the task `text`: words drawn by lot, the same law from its first character to its last."""

import atexit
import functools
import tempfile
from pathlib import Path

import numpy as np

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "that", "old", "hat", "was", "not", "at", "home")


@functools.cache
def path() -> str:
  folder = tempfile.TemporaryDirectory(prefix="assay-text-")
  atexit.register(folder.cleanup)
  file = Path(folder.name, "words.txt")
  file.write_text(" ".join(np.random.default_rng(0).choice(WORDS, 20_000)) + "\n", encoding="utf-8")
  return str(file)
