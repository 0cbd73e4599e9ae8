"""`assay list`: what there is, read from the files; without jax."""

import sys
from typing import Any

from configs import slots, sweep
from experiments.pages import items
from model.errors import Refused

FAMILIES = {"mechanisms": "attention", "positions": "position", "tasks": "tasks"}
OTHERS = {"models": items.models, "probes": items.probes, "measures": items.measures}


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Items of one list; printed as a table without --json."""
  items = _items(space.what)
  if not space.json:
    _print(space.what, items)
  return {"schema": 1, "items": items}, 0


def _items(what: str) -> list[dict[str, Any]]:
  if what == "claims":
    from experiments.protocol import catalog

    return [items.claim(claim) for claim in catalog.all_claims()]
  if what == "configs":
    return sweep.listing()
  if what in OTHERS:
    return OTHERS[what]()
  if what not in FAMILIES:
    raise Refused(f"cannot list {what!r}; allowed: claims, configs, {', '.join((*FAMILIES, *OTHERS))}")
  family = FAMILIES[what]
  described = [slots.describe(family, kind) for kind in slots.kinds(family)]
  return [items.task(item) if what == "tasks" else items.kind(item) for item in described]


def _print(what: str, items: list[dict[str, Any]]) -> None:
  columns = {
    "claims": ("id", "place", "nature", "tiers", "statement"),
    "configs": ("name", "points", "minutes", "asks"),
    "mechanisms": ("kind", "cost_time", "cost_memory", "options", "paper"),
    "positions": ("kind", "cost_time", "cost_memory", "options", "paper"),
    "tasks": ("kind", "floor", "ceiling", "needs", "summary"),
    "models": ("kind", "file", "summary"),
    "probes": ("name", "summary", "keys"),
    "measures": ("name", "label", "unit", "better", "summary"),
  }[what]
  from rich.console import Console
  from rich.table import Table
  from rich.text import Text

  table = Table(box=None, pad_edge=False)
  for column in columns:
    table.add_column(column, no_wrap=column in ("id", "kind", "name"))
  for item in items:
    table.add_row(*(Text(_cell(item.get(column))) for column in columns))  # brackets in a text are no markup
  Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: Any) -> str:
  if isinstance(value, dict):
    return ", ".join(f"{name}={option['default']}" for name, option in value.items())
  if isinstance(value, list | tuple):
    return " ".join(map(str, value))
  return "" if value is None else str(value)
