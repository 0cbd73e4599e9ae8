"""What `assay calibrate` found, as a document: kept beside the ledger, told in its page and in reports."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.record import atomic, digest

# What decides a row, whatever trained it: another text of these files is another protocol.
RULES = (
  "experiments/claims/known_arms.py",
  *(f"experiments/protocol/{name}.py" for name in ("assess", "looks", "repeats", "stats", "study", "verdict")),
)

Document = dict[str, Any]


def rules() -> str:
  """The digest of the protocol as it is now."""
  return digest.code_sha256(RULES)


def committed() -> Path:
  """Where this repository keeps its calibration."""
  return digest.root() / "experiments" / "ledger" / "calibration.json"


def write(path: Path, document: Mapping[str, Any]) -> None:
  """Replaces the document."""
  atomic.write_json(path, document, indent=1)


def read(path: Path) -> Document | None:
  """The document, None where there is none."""
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def stale(document: Mapping[str, Any]) -> bool:
  """Whether the rules have changed since."""
  return document["code_sha256"] != rules()


def told(document: Mapping[str, Any]) -> list[str]:
  """What it found, a sentence each."""
  null, level = document["null"], document["level"]
  sizes = ", ".join(str(n) for n in document["looks"])
  lines = [
    f"Of {null['comparisons']} comparisons of two equal arms, each with its own trainings, tuning and looks at {sizes} "
    f"seeds, {null['above']} found the first arm better and {null['below']} worse, at a level of {level:g} each way; "
    f"chance allows {null['allowed']}: {'the level is kept' if document['passed'] else 'the level is NOT kept'}.",
  ]
  for entry in document["power"]:
    share = entry["above"] / entry["comparisons"]
    by_look = ", ".join(f"{hits / entry['comparisons']:.2f}" for hits in entry["above_by_look"])
    lines.append(
      f"A difference of {entry['effect']:.2f} standard deviations (aimed at {entry['target']:g}) was found in "
      f"{share:.2f} of {entry['comparisons']} comparisons (by look: {by_look})."
    )
  return lines
