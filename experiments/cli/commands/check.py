"""`assay check WORKDIR [--repair]`: is every file what was written? Ends with 4 where something is damaged."""

import sys
from pathlib import Path
from typing import Any

from experiments.protocol import integrity
from experiments.run import store
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Names all that is damaged, missing, left over or foreign; with --repair sets it aside so that it runs again."""
  root = Path(space.workdir)
  if not root.is_dir() or not any((root / name).exists() for name in ("plan.json", "trials", "calls", "damaged")):
    raise Refused(f"{root} is no workdir of ours; give the --workdir of train, sweep, compare or reproduce")
  with store.held(root) as held:
    found = integrity.findings(root)
    mended = integrity.repair(held, found) if space.repair else []
    left = integrity.findings(root) if mended else found
  for finding in found:
    print(f"{finding.kind}: {finding.path}: {finding.what}", file=sys.stderr)
  for path in mended:
    print(f"repaired: {path}: what was damaged lies in {root / 'damaged'}", file=sys.stderr)
  whole = not any(finding.kind in integrity.FAULTS for finding in left)
  counts = integrity.count(root)
  if not space.json:
    held_text = ", ".join(f"{number} {name}" for name, number in counts.items())
    print(f"{root}: {held_text}: {_answer(whole, bool(mended))}")
  items = [{"kind": finding.kind, "path": finding.path, "what": finding.what} for finding in found]
  document = {"schema": 1, "workdir": str(root), "whole": whole, "found": items, "repaired": mended}
  return document | {"counts": counts}, 0 if whole or mended else 4


def _answer(whole: bool, mended: bool) -> str:
  if mended:
    return "repaired; the next command runs what is missing"
  return "whole" if whole else "damaged; `--repair` sets it aside, and the next command runs it again"
