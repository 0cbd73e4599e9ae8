"""`assay runs [WORKDIR ...]`: the stored trials, with the config keys in which they differ, and what they came to."""

import sys
from pathlib import Path
from typing import Any

from experiments import api
from model.errors import Refused

SHOWN = ("accuracy", "loss", "auc", "wer", "per")  # measures of the table; --csv and --json have all


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Prints a table or CSV; the document holds one item per trial."""
  if space.csv and space.json:
    raise Refused("--csv and --json both want stdout; give one of them")
  found = api.runs(*space.workdirs, where=space.where)
  if space.csv:
    from experiments.pages import frames

    print(frames.csv_text(found.rows), end="")
  elif not space.json:
    _print(found.found["items"])
  if not found.found["items"]:
    what = "no trial fulfils the condition" if space.where.strip() else "no stored trial"
    print(f"{what} in {', '.join(space.workdirs) or './assay-results'}", file=sys.stderr)
  if stale := [item["changed"] for item in found.found["items"] if item["stale"]]:
    print(f"{len(stale)} stale: {_few(stale)} changed since; the command runs them again", file=sys.stderr)
  return found.document, 0


def _few(changed: list[str]) -> str:
  """What changed, each once and not too many."""
  names = sorted({name for text in changed for name in text.split(", ")})
  return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _print(items: list[dict[str, Any]]) -> None:
  from rich.table import Table
  from rich.text import Text

  from experiments.pages import frames, from_runs

  if not items:
    return
  keys = list(dict.fromkeys(key for item in items for key in item["config"]))
  measures = [name for name in SHOWN if any(name in item["measures"] for item in items)]
  names = {key: _short(key, keys) for key in keys}
  table = Table(box=None, pad_edge=False)
  for column in ("workdir", "trial", *names.values(), "status", "steps", *measures):
    table.add_column(column, overflow="fold", no_wrap=column == "trial")
  for item in items:
    cells = [item["workdir"], item["trial"], *(_bare(item["config"].get(key)) for key in keys)]
    status = f"{item['status']}, stale" if item["stale"] else item["status"]
    cells += [status, item["steps"], *(item["measures"].get(name) for name in measures)]
    table.add_row(*(Text(frames.shown(cell)) for cell in cells))
  from_runs.show(table)


def _bare(value: Any) -> Any:
  """A file of one's own without its folders, which a column has no room for: temper.py:Temper."""
  return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _short(key: str, keys: list[str]) -> str:
  """A key's last name, or last two for a kind, where that tells it from the others."""
  parts = key.split(".")
  last = ".".join(parts[-2:]) if parts[-1] in ("kind", "length") else parts[-1]
  return last if sum(other == last or other.endswith(f".{last}") for other in keys) == 1 else key
