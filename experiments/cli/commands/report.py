"""`assay report`: draws a workdir's report again from its stored data."""

from pathlib import Path
from typing import Any

from experiments.pages import from_runs
from experiments.record import atomic
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Writes WORKDIR/report.html; the document names it."""
  root = Path(space.workdir)
  try:
    path = from_runs.redraw(root)
  except FileNotFoundError as error:
    raise Refused(f"{root} holds no report.json; give the workdir of a finished reproduce, sweep or compare") from error
  except atomic.Damaged as damage:
    raise Refused(
      f"{root / 'report.json'} is damaged ({damage}); run the command that made {root} again: what is whole is kept"
    ) from damage
  if not space.json:
    print(path)
  return {"schema": 1, "report": str(path)}, 0
