"""`assay reproduce`: claims in, verdicts out; what is stored is not run again.

On a terminal each claim is told in one or two lines as soon as it is decided, elsewhere all of them at the end.
"""

import sys
import time
from collections import Counter
from typing import Any

from experiments.cli import flags
from experiments.protocol import catalog

BASIS = "what trials of a study took when the ledger's row was made, else the FLOPs of its models"


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs what the claims need at the tier, writes ledger.jsonl and report.html, prints lines on each claim."""
  started = time.monotonic()
  claims = catalog.select(space.claims)
  if space.dry_run:
    return _plan(space, claims)
  from experiments.ledger import ledger
  from experiments.pages import outcome
  from experiments.protocol import reproduce
  from experiments.run.progress import Progress
  from experiments.run.runner import Options, Runner
  from experiments.run.store import opened, told

  reproduce.ready(claims, space.tier)
  root = flags.workdir(space.workdir, "reproduce", "claims")
  options = Options(jobs=space.jobs, profile=space.profile, keep_stale=space.keep_stale)
  with opened(root, {"command": "reproduce", "for": "claims"}) as store, Progress("reproduce") as progress:
    with Runner(store, options, progress) as runner:
      tell = None if space.json or not sys.stdout.isatty() else _teller(progress)
      found = reproduce.run(claims, space.tier, runner, tell)
    held, faults = ledger.salvage(root / "ledger.jsonl")
    if faults:
      lost = {f"ledger.jsonl:{line}": damage for line, damage in faults.items()}
      print(f"warning: {told('rows', lost, 'be made again when their claims are asked for')}", file=sys.stderr)
      store.set_aside(root / "ledger.jsonl")
    ledger.write(root / "ledger.jsonl", ledger.combine(held, found.rows))
    seconds = time.monotonic() - started
    mark = outcome.fingerprint(found.rows, claims, space.tier)
    report = outcome.drawn(root, mark)
    if report is None:
      head = outcome.meta(flags.typed(space), runner.backend, seconds, tier=space.tier)
      drawing = outcome.claims_report(found, claims, store, head)
      report = outcome.write(root, drawing, mark)
  rows = found.rows
  document = {
    "schema": 1,
    "tier": space.tier,
    "workdir": str(root),
    "report": str(report),
    "claims": rows,
    "summary": dict(Counter(row["verdict"] for row in rows)),
    "trials": runner.counts,
    "seconds": round(time.monotonic() - started, 1),
  }
  if not space.json:
    _print(rows, claims, told=tell is not None)
  print(f"{document['seconds']:.0f} s; report: {report}", file=sys.stderr)
  asked = {text for text in space.claims if "-" in text}
  unanswered = [row["id"] for row in rows if row["verdict"] == "untested" and row["id"] in asked]
  return document, 3 if runner.counts["failed"] or unanswered else 0


def _teller(progress):
  """Tells a claim and what was decided of it on the terminal."""
  from experiments.pages import items, page

  def tell(claim, decided) -> None:
    progress.say(page.styled({"id": claim.id, **decided}, items.claim(claim)))

  return tell


def _print(rows, claims, *, told: bool) -> None:
  """The lines of all claims, or, where a terminal has them already, what they come to; many untested are counted."""
  from experiments.pages import items, page

  for row in page.worth_telling(rows, told=told):
    print("\n".join(page.lines(row, items.claim(next(claim for claim in claims if claim.id == row["id"])))))
  print(page.summary(rows))


def _plan(space, claims) -> tuple[dict[str, Any], int]:
  """What would run, after the same examination as before a run: checks, benches and studies, and the time they take."""
  from experiments.pages import numbers
  from experiments.protocol import ahead, reproduce
  from experiments.run import estimate
  from train import compute

  reproduce.examined(claims, space.tier)
  items = ahead.items(claims, space.tier, flags.workdir(space.workdir, "reproduce", "claims"))
  waiting = any(item["missing"] for item in items)
  total = ahead.seconds(items, space.jobs or compute.cores(), estimate.slowness() if waiting else 1.0)
  if not space.json:
    for item in items:
      print(_planned(item))
    print(f"{len(items)} checks, benches and studies: about {numbers.duration(total)} for the first look at each")
    print(f"based on: {BASIS}; {estimate.BASIS}")
  return {"schema": 1, "items": items, "seconds": round(total, 1), "based_on": f"{BASIS}; {estimate.BASIS}"}, 0


def _planned(item: dict[str, Any]) -> str:
  if not item["trials"]:
    return f"{item['name']}: {'to run' if item['missing'] else 'stored'}, tier {item['tier']}"
  return (
    f"{item['name']}: {item['trials']} trials, {item['missing']} to run, {item['steps']} steps in {item['cohorts']}"
    f" compiled programs, tier {item['tier']}"
  )
