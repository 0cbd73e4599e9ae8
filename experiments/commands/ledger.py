"""`assay ledger merge WORKDIR | check | render`: the committed evidence and its pages."""

import sys
from pathlib import Path
from typing import Any

from experiments import atomic, calibration, cards, digest, ledger
from experiments.claims import catalog
from experiments.report import page
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Carries out one action; `check` ends with 4 when it finds a difference."""
  if space.action == "merge":
    found = ("ledger.jsonl", "replications.jsonl", "calibration.json")
    if not space.workdir or not any((Path(space.workdir) / name).is_file() for name in found):
      needs = "the workdir of a finished reproduce, replicate or calibrate"
      raise Refused(f"ledger merge needs {needs}; received {space.workdir}")
    calibrated = calibration.read(Path(space.workdir) / "calibration.json")
    if calibrated:
      calibration.write(calibration.committed(), calibrated)
    rows = ledger.merge(Path(space.workdir))
    _render(rows)
    return {"schema": 1, "rows": len(rows)}, 0
  if space.action == "render":
    rows = ledger.read(ledger.committed())
    ledger.write(ledger.committed(), rows)
    _render(rows)
    return {"schema": 1, "rows": len(rows)}, 0
  found = _check()
  for line in found:
    print(line, file=sys.stderr)
  if not space.json:
    print("the ledger is whole and up to date" if not found else f"{len(found)} differences")
  return {"schema": 1, "differences": found}, 4 if found else 0


def _pages() -> tuple[Path, Path]:
  return digest.root() / "experiments" / "LEDGER.md", digest.root() / "README.md"


def _items() -> list[dict[str, Any]]:
  return [cards.claim(claim) for claim in catalog.all_claims()]


def _render(rows) -> None:
  items, (ledger_page, readme) = _items(), _pages()
  atomic.write_text(ledger_page, page.ledger_markdown(rows, items, calibration.read(calibration.committed())))
  atomic.write_text(readme, ledger.with_digest(readme.read_text(), page.readme_digest(rows, items)))


def _check() -> list[str]:
  items, (ledger_page, readme) = _items(), _pages()
  return ledger.check(
    [item["id"] for item in items],
    page=(ledger_page, lambda rows: page.ledger_markdown(rows, items, calibration.read(calibration.committed()))),
    readme=(readme, lambda rows: page.readme_digest(rows, items)),
  )
