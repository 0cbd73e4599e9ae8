"""`assay replicate ID|GROUP`: claims again with seeds never used, and whether the verdicts agree."""

import sys
import time
from collections import Counter
from typing import Any

from experiments.cli import cli
from experiments.protocol import catalog


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Runs the claims at fresh seeds, writes WORKDIR/replications.jsonl, tells what it says of the ledger's rows."""
  from experiments.ledger import ledger
  from experiments.protocol import measures, replication, reproduce
  from experiments.run.progress import Progress
  from experiments.run.runner import Options, Runner
  from experiments.run.store import opened

  started = time.monotonic()
  held = replication.rows(space.tier)
  chosen = replication.chosen(catalog.select(space.claims), held, space)
  fresh = [replication.claim_at(claim, space.first_seed) for claim in chosen]
  measures.ready(fresh, space.tier)
  root = cli.workdir(space.workdir, "replicate", str(space.first_seed))
  options = Options(jobs=space.jobs, profile=space.profile, keep_stale=space.keep_stale)
  with opened(root, {"command": "replicate", "for": f"seeds from {space.first_seed}"}) as store:
    with Progress("replicate") as progress, Runner(store, options, progress) as runner:
      found = reproduce.run(fresh, space.tier, runner).rows
    path = root / "replications.jsonl"
    ledger.write(path, ledger.combine(ledger.read(path), found))
  pairs = [(held[row["id"]], row) for row in found]
  items = [_item(old, new) for old, new in pairs]
  if not space.json:
    _print(items)
  summary = dict(Counter(item["answer"] for item in items))
  told = ", ".join(f"{count} {answer}" for answer, count in summary.items())
  print(f"{len(items)} replicated: {told}; `assay ledger merge {root}` keeps them beside the rows", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "tier": space.tier, "first_seed": space.first_seed, "items": items}
  more = {"summary": summary, "trials": runner.counts, "seconds": round(time.monotonic() - started, 1)}
  return document | more, 3 if runner.counts["failed"] else 0


def _item(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
  from experiments.protocol import repeats, replication

  return {
    "id": old["id"],
    "tier": old["tier"],
    "device": old["device"],
    "answer": replication.agreement(old, new),
    "expected": repeats.expected(old),
    "was": {name: old[name] for name in ("verdict", "condition", "reason")},
    "is": {name: new[name] for name in ("verdict", "condition", "reason")},
    "seeds": new["seeds"],
  }


def _print(items: list[dict[str, Any]]) -> None:
  from rich.table import Table
  from rich.text import Text

  from experiments.pages import from_runs

  table = Table(box=None)
  for name in ("claim", "tier", "was", "is", "answer", "expected to agree", "reason"):
    table.add_column(name, overflow="fold")
  for item in items:
    chance = "–" if item["expected"] is None else f"{item['expected']:.2f}"
    words = item["was"]["verdict"], item["is"]["verdict"], item["answer"]
    # As text: a cell of a test stands in brackets, which is markup elsewhere.
    table.add_row(item["id"], item["tier"], *words, chance, Text(item["is"]["reason"]))
  from_runs.show(table)
