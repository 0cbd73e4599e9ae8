"""`assay calibrate`: how often the protocol finds what is not there, and how often what is."""

import sys
import time
from typing import Any

from experiments.cli import cli


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the comparisons and writes WORKDIR/calibration.json; ends with 3 when the level is not kept."""
  from experiments.protocol import calibrate, calibration
  from experiments.run.progress import Progress
  from experiments.run.runner import Options, Runner
  from experiments.run.store import opened

  started = time.monotonic()
  root = cli.workdir(space.workdir, "calibrate", "protocol")
  with opened(root, {"command": "calibrate", "for": "protocol"}) as store:
    options = Options(jobs=space.jobs, profile=space.profile)
    with Progress("calibrate") as progress, Runner(store, options, progress) as runner:
      document = calibrate.run(space.comparisons, runner)
    document["run"]["seconds"] = round(time.monotonic() - started, 1)
    calibration.write(root / "calibration.json", document)
  if not space.json:
    print("\n".join(calibration.told(document)))
  print(f"`assay ledger merge {root}` keeps it beside the ledger", file=sys.stderr)
  return document | {"workdir": str(root)}, 0 if document["passed"] else 3
