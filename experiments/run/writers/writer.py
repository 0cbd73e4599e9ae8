"""What a writer is: it gets every ended trial once, and writes it for another program into a folder of the trial.

    WORKDIR/writers/<name>/<trial>/...  written.json     written last: a trial that has it is not written again

A writer of your own is a subclass in a file of yours, named ./mine.py:Mine; `writing` calls it.
"""

import abc
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.run.workdirs import flat
from model.errors import Refused


@dataclasses.dataclass(frozen=True)
class Trial:
  """An ended trial as it is stored."""

  workdir: Path
  key: str  # 16 hex digits
  config: Mapping[str, Any]  # resolved, nested
  curve: Sequence[Mapping[str, float]]  # rows {"step": 100, measure: value, ...}, steps rising
  status: str  # done, diverged, stalled or failed
  cause: str | None  # why it failed
  steps: int  # training steps behind it
  measures: Mapping[str, float]  # at the end, by name; NaN and infinities are floats
  seconds: float
  stale: bool = False  # made by other code than today's, and kept

  @property
  def settings(self) -> dict[str, Any]:
    """The config as {"model.heads": 2, ...}."""
    return flat(self.config)


class Writer(abc.ABC):
  """Writes trials for another program. It is made once a command, before any worker starts.

  `__init__` takes no arguments; it raises Refused where a package is missing (`need`). Whatever `write` raises costs
  no result: it is told, and the trial is written by the next command.
  """

  origin = ""  # the file of a writer of one's own: another file's class of that name is another writer

  @abc.abstractmethod
  def write(self, trial: Trial, folder: Path) -> None:
    """Writes one trial into its folder, which is there and empty. Called in the order in which trials end."""


def need(package: str, name: str) -> None:
  """Imports a package that the writer `name` needs; `name` is also the extra that brings it. Raises Refused."""
  try:
    importlib.import_module(package)
  except ImportError as error:
    raise Refused(
      f"--writer={name} needs the package {package}, which cannot be imported ({error}); "
      f"install the extra {name}: pip install -e '.[{name}]'"
    ) from error
