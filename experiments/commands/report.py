"""`assay report`: draws a workdir's report again from its stored data."""

from pathlib import Path
from typing import Any

from experiments import outcome
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Writes WORKDIR/report.html; the document names it."""
  root = Path(space.workdir)
  if not (root / "report.json").exists():
    raise Refused(f"{root} holds no report.json; give the workdir of a finished reproduce, sweep or compare")
  path = outcome.write(root, outcome.read(root))
  if not space.json:
    print(path)
  return {"schema": 1, "report": str(path)}, 0
