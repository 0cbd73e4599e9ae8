"""`assay reproduce`: claims in, verdicts out; what is stored is not run again.

On a terminal each claim is told in one or two lines as soon as it is decided, elsewhere all of them at the end.
"""

import sys
from typing import Any

from experiments import api
from experiments.cli import cli


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs what the claims need at the tier, writes ledger.jsonl and report.html, prints lines on each claim."""
  shared = {name: getattr(space, name) for name in ("tier", "workdir", "jobs", "profile", "keep_stale", "dry_run")}
  at_once = not space.json and sys.stdout.isatty()
  found = api.reproduce(*space.claims, asked=cli.typed(space), teller=_teller if at_once else None, **shared)
  if isinstance(found, api.Planned):
    if not space.json:
      _print_planned(found.found)
    return found.document, 0
  if not space.json:
    _print(found.found["claims"], told=at_once)
  print(f"{found.found['seconds']:.0f} s; report: {found.found['report']}", file=sys.stderr)
  return found.document, 0 if found.complete else 3


def _teller(progress):
  """Tells a claim and what was decided of it on the terminal."""
  from experiments.pages import items, page

  def tell(claim, decided) -> None:
    progress.say(page.styled({"id": claim.id, **decided}, items.claim(claim)))

  return tell


def _print(rows, *, told: bool) -> None:
  """The lines of all claims, or, where a terminal has them already, what they come to; many untested are counted."""
  from experiments.pages import items, page
  from experiments.protocol import catalog

  for row in page.worth_telling(rows, told=told):
    print("\n".join(page.lines(row, items.claim(catalog.by_id(row["id"])))))
  print(page.summary(rows))


def _print_planned(planned) -> None:
  from experiments.pages import numbers

  for item in planned["items"]:
    print(_planned(item))
  total = numbers.duration(planned["seconds"])
  print(f"{len(planned['items'])} checks, benches and studies: about {total} for the first look at each")
  print(f"based on: {planned['based_on']}")


def _planned(item: dict[str, Any]) -> str:
  if not item["trials"]:
    return f"{item['name']}: {'to run' if item['missing'] else 'stored'}, tier {item['tier']}"
  return (
    f"{item['name']}: {item['trials']} trials, {item['missing']} to run, {item['steps']} steps in {item['cohorts']}"
    f" compiled programs, tier {item['tier']}"
  )
