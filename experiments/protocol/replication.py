"""A verdict tried again: which claims, with which seeds, and what a replication that was run says."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.ledger import ledger
from experiments.protocol import catalog
from experiments.protocol.claim import TIERS, Claim, Study, Trial
from model.errors import Refused

MOST = 100  # seeds that one replication takes at most: tuning, then reporting up to the last look
ANSWERS = AGREES, OPEN, CONTRADICTS = "agrees", "open", "contradicts"

Row = Mapping[str, Any]


def rows(tier: str) -> dict[str, dict[str, Any]]:
  """The committed row of every claim that trains, at its largest tier within `tier`; by id."""
  reach, found = ("gpu",) if tier == "gpu" else TIERS[: TIERS.index(tier) + 1], {}
  for row in sorted(ledger.read(ledger.committed()), key=lambda row: TIERS.index(row["tier"]) if row["trials"] else -1):
    if row["trials"] and row["tier"] in reach:
      found[row["id"]] = row
  return found


def chosen(claims: Sequence[Claim], held: Mapping[str, Row], space) -> list[Claim]:
  """The claims that can be replicated, all of them or `--draw` of them; Refused where there is none."""
  usable = [claim for claim in claims if claim.id in held and claim.tier_for(space.tier) == held[claim.id]["tier"]]
  if not usable:
    names = ", ".join(claim.id for claim in claims[:5])
    if claims and all(claim.id in catalog.own() for claim in claims):
      raise Refused(
        f"{names} stands in a file of yours, and replicate asks the committed ledger; give its study other seeds "
        "(tuning=, reporting=) and run `assay reproduce` in another --workdir="
      )
    raise Refused(
      f"no trained row of {names} stands in the ledger at tier {space.tier}; exact rows have no seeds, others want "
      "`assay reproduce` first"
    )
  if space.draw is None:
    return usable
  if space.draw > len(usable):
    raise Refused(f"--draw={space.draw} of {len(usable)} rows that can be replicated; draw at most as many")
  drawn = random.Random(space.draw_seed).sample(sorted(claim.id for claim in usable), space.draw)
  return [claim for claim in usable if claim.id in drawn]


def claim_at(claim: Claim, first_seed: int) -> Claim:
  """The claim with other seeds: tuning from `first_seed`, then reporting. Refused where the claim has used some."""
  from experiments.protocol import looks, study

  assert isinstance(claim.experiment, Trial)
  plan = claim.experiment.study
  fresh = _at(plan, first_seed)
  used = {*plan.tuning, *study.seeds(plan, len(plan.reporting) * 2 ** (looks.MOST - 1))}
  if used & set(range(first_seed, first_seed + MOST)):
    free = max(used) + 1
    raise Refused(f"--first_seed={first_seed}: {claim.id} has used seeds up to {max(used)}; give {free} or more")
  return dataclasses.replace(claim, experiment=dataclasses.replace(claim.experiment, study=fresh))


def _at(plan: Study, first_seed: int) -> Study:
  start = first_seed + len(plan.tuning)
  tuning, reporting = range(first_seed, start), range(start, start + len(plan.reporting))
  return dataclasses.replace(plan, tuning=tuple(tuning), reporting=tuple(reporting))


# ---------------------------------------------------------------------------------------------------------------------
# A replication that was run


def agreement(row: Row, again: Row) -> str:
  """What another row of the same claim and tier, from other seeds, says of this one.

  "agrees": the same verdict (under the same condition). "contradicts": another decided verdict. "open": one of the two
  is inconclusive and the other is not.
  """
  if (row["verdict"], row["condition"]) == (again["verdict"], again["condition"]):
    return AGREES
  return OPEN if "inconclusive" in (row["verdict"], again["verdict"]) else CONTRADICTS


def entry(row: Row, again: Row) -> dict[str, Any]:
  """What a row keeps of a replication."""
  kept = (
    "verdict",
    "condition",
    "reason",
    "tests",
    "arms",
    "seeds",
    "look",
    "config_sha256",
    "code_sha256",
    "versions",
  )
  return {"answer": agreement(row, again), **{name: again[name] for name in kept}, "date": again["run"]["date"]}


def with_entry(row: Row, found: Row) -> dict[str, Any]:
  """The row with one more replication; one of the same reporting seeds takes the place of the older."""
  others = [one for one in row.get("replications") or () if one["seeds"] != found["seeds"]]
  return {**row, "replications": sorted([*others, found], key=lambda one: one["seeds"]["reporting"])}


def told(row: Row) -> str:
  """`agrees (500-511)` for each replication of a row, answered anew against the row as it is now."""
  parts = []
  for one in row.get("replications") or ():
    seeds = one["seeds"]["reporting"]
    parts.append(f"{agreement(row, one)} ({min(seeds)}–{max(seeds)})")
  return ", ".join(parts)
