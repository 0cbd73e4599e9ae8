"""`assay reproduce`: claims in, verdicts out; what is stored is not run again."""

import sys
from typing import Any

from experiments import api
from experiments.cli import flags


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs what the claims need at the tier, writes ledger.jsonl and report.html, prints the verdict table."""
  shared = {name: getattr(space, name) for name in ("tier", "workdir", "jobs", "profile", "keep_stale", "dry_run")}
  found = api.reproduce(*space.claims, asked=flags.typed(space), **shared)
  if isinstance(found, api.Planned):
    for item in () if space.json else found.found["items"]:
      print(f"{item['name']}: {item['trials']} trials, {item['steps']} steps at tier {item['tier']}")
    return found.document, 0
  if not space.json:
    from experiments.pages import outcome, page

    outcome.show(page.table(found.found["claims"]))
  print(f"{found.found['seconds']:.0f} s; report: {found.found['report']}", file=sys.stderr)
  return found.document, 0 if found.complete else 3
