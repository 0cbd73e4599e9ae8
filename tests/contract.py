"""What the contract tests of a family run over: all kinds on the disk, or the one class that `assay test` names.

A test marked `contract` holds for every kind of its family. `assay test path/mine.py:Mine` runs those alone, with
ASSAY_CONTRACT="attention=/home/me/mine.py:Mine" (family=kind) in the environment.
"""

import os

import pytest

from model import build

MINE_OF, _, MINE = os.environ.get("ASSAY_CONTRACT", "").partition("=")
contract = pytest.mark.contract


def kinds(family: str, package: str = "model") -> list[str]:
  """The kinds to test; of the family that a class was named of, only this class."""
  return [MINE] if family == MINE_OF else build.kinds(family, package)
