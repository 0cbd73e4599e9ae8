"""`assay explain ID|GROUP|FILE|KIND`: claims, how they are tested and what came out; or what a kind is."""

import contextlib
from typing import Any

from configs import Refused as ConfigRefused
from configs import slots
from experiments.ledger import ledger
from experiments.pages import items, page
from experiments.protocol import catalog, verdict
from model.errors import Refused

KINDS = ("attention", "position", "feedforward", "cell", "tasks")  # families whose kinds are explained by name


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Text from claims and their committed rows, or from the file of a kind; without jax.

  A name in lower case that is both, such as rnn, is the kind: groups are written in capitals.
  """
  if told := _kind(space.id):
    if not space.json:
      print("\n".join(page.about(item) for item in told))
    return {"schema": 1, "items": told}, 0
  try:
    claims = catalog.select([space.id])
  except Refused as refusal:
    if isinstance(refusal, catalog.NoClaims):
      raise Refused(f"{refusal}; a class in it is explained by {space.id}:Class") from None
    if space.id.endswith(".py"):
      raise
    raise Refused(f"{refusal}; neither is it a mechanism, position, task, model, cell, probe or measure") from None
  rows = ledger.read(ledger.committed())
  found = [{"claim": items.claim(one), "rows": [row for row in rows if row["id"] == one.id]} for one in claims]
  if not space.json:
    for one, entry in zip(claims, found, strict=True):
      print(page.explain(entry["claim"], *entry["rows"], level=verdict.level(catalog.group(one.group))))
  alone = found[0] if len(found) == 1 else {"items": found}
  return {"schema": 1, **alone}, 0


def _kind(name: str) -> list[dict[str, Any]]:
  """What bears this name: kinds of every family, models, probes and measures, or a class of one's own."""
  if ":" in name:
    return [_own(slots.located(name))]
  found = [
    {"what": family, **{key: value for key, value in items.described(family, name).items() if value not in (None, "")}}
    for family in KINDS
    if name in slots.kinds(family)
  ]
  found += [{"what": "model", **item} for item in items.models() if item["kind"] == name]
  found += [{"what": "probe", **item} for item in items.probes() if item["name"] == name]
  return found + [{"what": "measure", **item} for item in items.measures() if item["name"] == name]


def _own(kind: str) -> dict[str, Any]:
  """A class path/to/mine.py:Mine, of the first family that can build it. Raises Refused where none can."""
  slots.class_of("models", kind)  # refuses a file that is not there, and one without the class
  for family in (*KINDS, "models"):
    with contextlib.suppress(ConfigRefused):
      return {"what": family.removesuffix("s") if family == "models" else family, **items.described(family, kind)}
  raise Refused(
    f"{kind!r} is neither a mechanism, a position scheme, a layer, a cell, a task nor a model; `assay new` writes one"
  )
