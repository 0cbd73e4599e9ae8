"""What `experiments.bench.gpu` measured, as Markdown and as one offline HTML page.

`python -m experiments.pages.device OUT/gpu.json` writes gpu.md and gpu.html beside it. Without jinja2 there is no HTML.
"""

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pages import numbers
from experiments.record import atomic

TITLES = {
  "tests": "Tests on the accelerator",
  "members": "Members side by side",
  "claims": "Claims of the gpu tier",
  "step": "A training step beside PyTorch's",
  "growth": "Growth with the length",
}
REHEARSAL = (
  "A rehearsal on the CPU at tiny sizes: it shows that the script runs, and says nothing of a GPU or of a claim."
)
EVERYTHING = "figures are medians with their range, lowest to highest"

Document = Mapping[str, Any]


def main(argv: Sequence[str]) -> int:
  """Writes the pages of the document named."""
  if len(argv) != 1:
    print("give one file, such as assay-results/gpu/gpu.json", file=sys.stderr)
    return 2
  path = Path(argv[0])
  try:
    document = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    print(
      f"{path} holds no measurements ({error}); give the gpu.json of `python -m experiments.bench.gpu`", file=sys.stderr
    )
    return 2
  atomic.write_text(path.with_suffix(".md"), markdown(document))
  print(f"written: {path.with_suffix('.md')}")
  if importlib.util.find_spec("jinja2") is None:
    print("no gpu.html: jinja2 is not installed here; write it elsewhere by the same command")
    return 0
  atomic.write_text(path.with_suffix(".html"), html(document))
  print(f"written: {path.with_suffix('.html')}")
  return 0


def html(document: Document) -> str:
  """One page without anything from elsewhere."""
  from experiments.pages.build import environment

  return environment().get_template("device.html.j2").render(page=view(document))


def markdown(document: Document) -> str:
  """The same as Markdown."""
  page = view(document)
  lines = [f"# {page['title']}", ""]
  lines += [f"**{page['warning']}**", ""] if page["warning"] else []
  lines += [f"- {name}: {text}" for name, text in page["facts"]] + [""]
  lines += _table(("part", "what", "status", "time", "remark"), page["overview"])
  for part in page["parts"]:
    lines += ["", f"## {part['title']}", "", part["what"] + ".", ""]
    lines += [f"- {remark}" for remark in part["remarks"]] + ([""] if part["remarks"] else [])
    lines += _table(HEADS, [row["cells"] for row in part["rows"]]) if part["rows"] else ["Nothing was measured."]
    lines += ["", *(f"{mark}. {note}" for mark, note in part["notes"])] if part["notes"] else []
  return "\n".join(lines) + "\n"


HEADS = ("figure", "median [range]", "unit", "n", "processes", "device")


def view(document: Document) -> dict[str, Any]:
  """What both pages show, as texts."""
  parts = document["parts"]
  return {
    "title": "Rehearsal of the GPU script" if document["rehearsal"] else "Measured on the accelerator",
    "warning": REHEARSAL if document["rehearsal"] else "",
    "facts": facts(document),
    "overview": [
      [_title(part), part["what"], part["status"], _seconds(part), _plain(part["reason"])] for part in parts
    ],
    "parts": [_part(part) for part in parts if part["status"] != "not reached"],
    "heads": HEADS,
    "explained": EVERYTHING,
  }


def facts(document: Document) -> list[tuple[str, str]]:
  """Device, driver, versions, date and time; what is not known is left out."""
  machine, run = document["machine"], document["run"]
  gpus = [f"{gpu['name']}, driver {gpu['driver_version']}, {gpu['memory.total']}" for gpu in machine["nvidia_smi"]]
  memory = machine.get("memory_bytes")
  versions = machine["versions"]
  found = {
    "Device": f"{machine['backend']}: {machine['name']}"
    + (f" (1 of {machine['count']})" if machine["count"] > 1 else ""),
    "Driver says": "; ".join(gpus),
    "Memory for jax": f"{numbers.number(memory / 2**30)} GiB" if memory else "",
    "Platform": machine["platform_version"],
    "Clock": machine["clock"],
    "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    "Code": machine["code_sha256"][:16],
    "Date": run["date"],
    "Time": f"{numbers.duration(run['seconds'])} of {numbers.number(run['minutes'])} min",
    "Complete": "" if document["complete"] else "no: it was stopped before its end",
  }
  return [(name, _plain(text)) for name, text in found.items() if text]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
  """One part: its remarks, and its figures with notes by number."""
  notes = {note: str(place) for place, note in enumerate(dict.fromkeys(filter(None, _notes(part))), 1)}
  rows = [{"cells": _cells(one), "note": notes.get(one["note"], "")} for one in part["figures"]]
  for row in rows:
    row["cells"][0] += f" ({row['note']})" if row["note"] else ""
  return {
    "title": _title(part),
    "what": _plain(part["what"][:1].upper() + part["what"][1:]),
    "status": part["status"],
    "remarks": [
      *([f"{part['status']}: {_plain(part['reason'])}"] if part["reason"] else []),
      *_remarks(part["details"]),
    ],
    "rows": rows,
    "notes": [(mark, _plain(note)) for note, mark in notes.items()],
    "log": part["log"],
  }


def _notes(part: Mapping[str, Any]) -> list[str]:
  return [one["note"] for one in part["figures"]]


def _cells(one: Mapping[str, Any]) -> list[str]:
  spread = [one["low"], one["high"]] if one["n"] > 1 else None
  unit = "" if one["unit"] == "1" else one["unit"]
  middle = numbers.pretty(numbers.effect(one["median"], spread))
  return [_plain(one["name"]), middle, unit, str(one["n"]), str(one["processes"]), one["device"]]


def _remarks(details: Mapping[str, Any]) -> list[str]:
  """What a part says in words: verdicts of claims, what was left out, what was missing."""
  found = []
  for name, said in details.items():
    if isinstance(said, Mapping) and "reason" in said:
      found.append(f"{name}: {said['verdict'] or 'no verdict'}. {_plain(said['reason'])}")
    elif isinstance(said, list):
      found += [_plain(line) for line in said]
    elif isinstance(said, str):
      found.append(f"{name}: {_plain(said)}")
  return found


def _title(part: Mapping[str, Any]) -> str:
  return TITLES.get(part["name"]) or str(part["name"])


def _seconds(part: Mapping[str, Any]) -> str:
  return f"{numbers.duration(part['seconds'])} of {numbers.duration(part['budget_seconds'])}"


def _plain(text: str) -> str:
  return numbers.plain(text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """A Markdown table; a bar in a cell would end it."""
  lines = [heads, ["---"] * len(heads), *rows]
  return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
