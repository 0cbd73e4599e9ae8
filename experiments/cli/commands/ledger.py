"""`assay ledger merge WORKDIR | check | prove [ID ...] | render`: the committed evidence and its pages."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.ledger import ledger
from experiments.pages import items, page
from experiments.protocol import calibration, catalog
from experiments.record import atomic, digest
from model.errors import Refused

Document = tuple[dict[str, Any], int]
FLAGS = {"since": "prove", "replay": "prove", "release": "check"}  # each belongs to one action


def run(space, overrides: list[str]) -> Document:
  """Carries out one action; `check` ends with 4 when it finds a difference, `prove` when a row must run again."""
  for flag, action in FLAGS.items():
    if getattr(space, flag) and space.action != action:
      raise Refused(f"--{flag} means nothing to `assay ledger {space.action}`; it belongs to `assay ledger {action}`")
  if space.names and space.action in ("check", "render"):
    raise Refused(f"`assay ledger {space.action}` takes no {space.names[0]!r}; it is for the whole ledger")
  return {"merge": _merge, "render": _write, "check": _check, "prove": _prove}[space.action](space)


def _merge(space) -> Document:
  workdir = Path(space.names[0]) if len(space.names) == 1 else None
  found = ("ledger.jsonl", "replications.jsonl", "calibration.json")
  if workdir is None or not any((workdir / name).is_file() for name in found):
    received, needs = " ".join(space.names) or None, "the workdir of a finished reproduce, replicate or calibrate"
    raise Refused(f"ledger merge needs {needs}; received {received}")
  calibrated = calibration.read(workdir / "calibration.json")
  if calibrated:
    calibration.write(calibration.committed(), calibrated)
  rows = ledger.merge(workdir)
  _render(rows)
  return {"schema": 1, "rows": len(rows)}, 0


def _write(space) -> Document:
  rows = ledger.read(ledger.committed())
  ledger.write(ledger.committed(), rows)
  _render(rows)
  return {"schema": 1, "rows": len(rows)}, 0


def _check(space) -> Document:
  """Stale rows are a difference in a release; before one they are told, and that is all."""
  stale = [f"{'/'.join(key)}: {reason}" for key, reason in _stale(ledger.read(ledger.committed())).items()]
  calibrated = calibration.read(calibration.committed())
  if calibrated and calibration.stale(calibrated):
    stale.append("calibration: the protocol has changed since; run `assay calibrate` and merge its workdir")
  found = _differences() + (stale if space.release else [])
  for line in found:
    print(line, file=sys.stderr)
  for line in [] if space.release else stale:
    print(f"warning: {line}", file=sys.stderr)
  if stale:
    print(f"{len(stale)} stale: `assay ledger prove` renews what still holds and names the rest", file=sys.stderr)
  if not space.json:
    more = f", {len(stale)} rows are stale" if stale and not space.release else ""
    print((f"{len(found)} differences" if found else "the ledger is whole and up to date") + more)
  return {"schema": 1, "differences": found, "stale": stale}, 4 if found else 0


def _prove(space) -> Document:
  """Renews what can be proved, and names what must run again."""
  from experiments.proof import prove

  rows = ledger.read(ledger.committed())
  chosen = {claim.id for claim in catalog.select(space.names)}
  stale = _stale(rows)
  wanted = [row for row in rows if ledger.key(row) in stale and row["id"] in chosen]
  found = prove.Renewal()
  try:
    prove.prove(
      wanted,
      {claim.id: claim for claim in catalog.all_claims()},
      since=space.since,
      replay=space.replay,
      tell=lambda text: print(text, file=sys.stderr, flush=True),
      renewal=found,
    )
  finally:  # also when it was stopped: every proof stands by itself
    if found.proved:
      renewed = [found.proved.get(ledger.key(row), row) for row in rows]
      ledger.write(ledger.committed(), renewed)
      _render(renewed)
  proved, remaining = _named(found.proved), [f"{'/'.join(key)}: {why}" for key, why in sorted(found.remaining.items())]
  if not space.names and (problem := _prove_calibration()):
    remaining.append(f"calibration: {problem}")
  if not space.json:
    for line in remaining:
      print(f"must run again: {line}")
    print(f"{len(wanted)} stale rows: {len(proved)} proved, {len(remaining)} must run again")
  document = {"schema": 1, "stale": _named(stale), "proved": proved, "remaining": remaining}
  return document, 4 if remaining else 0


def _prove_calibration() -> str:
  """Renews the calibration where the rules are what they were; else says why it must run again."""
  from experiments.proof import rules
  from experiments.proof.history import History

  held = calibration.read(calibration.committed())
  if not held or not calibration.stale(held):
    return ""
  renewed, problem = rules.renewed(held, History(digest.root()))
  if renewed:
    calibration.write(calibration.committed(), renewed)
    _render(ledger.read(ledger.committed()))
  return problem


def _named(keys: Iterable[tuple[str, str, str]]) -> list[str]:
  return ["/".join(key) for key in sorted(keys)]


def _stale(rows) -> dict[tuple[str, str, str], str]:
  from experiments.protocol import today

  claims = {claim.id: claim for claim in catalog.all_claims()}

  def now(row):
    claim = claims.get(row["id"])
    return today.now(claim, row) if claim else None

  return ledger.stale(rows, now)


def _pages() -> tuple[Path, Path]:
  return digest.root() / "experiments" / "ledger" / "LEDGER.md", digest.root() / "README.md"


def _items() -> list[dict[str, Any]]:
  return [items.claim(claim) for claim in catalog.all_claims()]


def _render(rows) -> None:
  items, (ledger_page, readme) = _items(), _pages()
  atomic.write_text(ledger_page, page.ledger_markdown(rows, items, calibration.read(calibration.committed())))
  atomic.write_text(readme, page.replace_excerpt(readme.read_text(), page.readme_excerpt(rows, items)))


def _differences() -> list[str]:
  items, (ledger_page, readme) = _items(), _pages()
  return ledger.check(
    [item["id"] for item in items],
    page=(ledger_page, lambda rows: page.ledger_markdown(rows, items, calibration.read(calibration.committed()))),
    readme=(readme, lambda rows: page.readme_excerpt(rows, items)),
  )
