"""The configuration that cards start from; they change what they ask about.

Every key with its meaning, range and default stands in model/schema.py, the options of a kind in its constructor. A key
that has no effect on what is built, such as the warm-up of a constant rate, is refused when the user sets it; the rules
stand in configs/effect.py.
"""

from typing import Any

from ml_collections import ConfigDict

from model import schema


def get_config() -> Any:  # a ConfigDict, whose attributes have no static types
  """A small encoder on the recall task: trains in seconds on a CPU."""
  return ConfigDict(schema.defaults())
