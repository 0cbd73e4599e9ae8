"""`assay explain ID`: what a document claims, where, how it is tested and what came out."""

from typing import Any

from experiments.ledger import ledger
from experiments.pages import items, page
from experiments.protocol import catalog, verdict


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Text from the claim and its committed rows; without jax."""
  claim = catalog.select([space.id])[0]
  rows = [row for row in ledger.read(ledger.committed()) if row["id"] == claim.id]
  item = items.claim(claim)
  if not space.json:
    print(page.explain(item, *rows, level=verdict.level(catalog.group(claim.group))))
  return {"schema": 1, "claim": item, "rows": rows}, 0
