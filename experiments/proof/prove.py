"""Which rows of the ledger still hold after their code has changed: proved by equal programs, by running, or not.

A row whose trials' programs, numbers and host code are today what they were in the tree that made the row would come
out the same: it gets today's stamp, and the proof stands in it. What cannot be proved is named. Figures are never
rewritten.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from experiments.ledger import ledger
from experiments.proof import hosts
from experiments.proof.differences import first, first_in_tests
from experiments.proof.made import Made
from experiments.proof.trees import Lab, Unproved
from experiments.protocol import reproduce, today
from experiments.protocol.claim import Bench, Check, Claim, Trial
from experiments.record import digest, moved, stamp
from experiments.record.atomic import canonical

Row = ledger.Row
Key = tuple[str, str, str]
Tell = Callable[[str], None]


@dataclasses.dataclass
class Renewal:
  """Rows by key: those that hold, with today's stamp, and why the others do not."""

  proved: dict[Key, Row] = dataclasses.field(default_factory=dict)
  remaining: dict[Key, str] = dataclasses.field(default_factory=dict)


def prove(
  rows: Sequence[Row],
  claims: Mapping[str, Claim],
  *,
  since: str = "",
  replay: bool = False,
  tell: Tell = lambda text: None,
  renewal: Renewal | None = None,
) -> Renewal:
  """Tries these rows, which are stale; see the module.

  `since` names the commit that made them all, `replay` lets equal runs decide where programs or host code differ. A
  proof in a row: `since` (commit), `programs` (number), `sha256` (of them, or of the samples or files compared),
  `versions`; `replayed` arms, calls run `again`, `files` of a bench; `forced` where the named commit has other code
  than the row is stamped with. `renewal` is filled row by row, so that a command that is stopped keeps what it has.
  Raises Refused where the history is missing.
  """
  renewal = renewal or Renewal()
  with tempfile.TemporaryDirectory(prefix="assay-prove-") as folder:
    lab = Lab(digest.root(), Path(folder), tell)
    try:
      _prove(rows, claims, lab, since, replay, renewal)
    finally:
      lab.close()
  return renewal


def _prove(rows, claims, lab: Lab, since: str, replay: bool, renewal: Renewal) -> None:
  made = Made(lab, rows, since)
  for row in sorted(rows, key=lambda row: (made.order(row), ledger.key(row))):
    key = ledger.key(row)
    lab.tell("/".join(key))
    try:
      claim = _claim(row, claims)
      is_trial, is_bench = isinstance(claim.experiment, Trial), isinstance(claim.experiment, Bench)
      way = _by_programs if is_trial else _same_files if is_bench else _again
      proof = way(row, claim, lab, made, replay)
      renewal.proved[key] = _stamped(row, claim, proof)
    except Unproved as reason:
      renewal.remaining[key] = str(reason)
      lab.tell(f"  must run again: {reason}")


def _claim(row: Row, claims: Mapping[str, Claim]) -> Claim:
  if row["id"] not in claims or claims[row["id"]].experiment is None:
    raise Unproved("there is no such experiment any more")
  if row["stale"]:
    raise Unproved("it was built from trials of several states of the code")
  if row["tier"] not in claims[row["id"]].tiers:
    raise Unproved(f"its claim has no tier {row['tier']} any more")
  return claims[row["id"]]


def _stamped(row: Row, claim: Claim, proof: Mapping[str, Any]) -> Row:
  """The row with today's files, digests and keys; what was measured stays as it is."""
  now = today.now(claim, row)
  renewed = {
    "code_files": list(now.files),
    "code_sha256": digest.code_sha256(now.files),
    "config_sha256": now.config_sha256,
    "trials": list(now.trials),
    "proof": {**proof, "versions": stamp.versions()},
  }
  return {**row, **renewed}


# ---------------------------------------------------------------------------------------------------------------------
# Checks run again; benches stand as long as what they time reads as before


def _again(row: Row, claim: Claim, lab: Lab, made: Made, replay: bool) -> dict[str, Any]:
  """Calls the check; its figures must be those of the row.

  Where they are not, the old tree decides on this machine: another processor may sum otherwise in the last digits.
  """
  samples: dict[str, list[float]] = {}
  told, device, since = "", row["device"], None
  if isinstance(claim.experiment, Check):
    asked = {"op": "call", "prefix": "experiments.claims", "name": claim.experiment.run}
    answer = lab.asked(asked)
    told, device = canonical(answer["samples"]), answer["device"]
    samples = {name: [float.fromhex(value) for value in values] for name, values in answer["samples"].items()}
  if device != row["device"]:
    raise Unproved(f"it was made on {row['device']}, and this machine computes on {device}")
  called = {claim.experiment.run: samples} if isinstance(claim.experiment, Check) else {}
  backend = SimpleNamespace(backend={"device": device, "device_name": row["run"].get("device_name", "")})
  fresh = reproduce._row(claim, row["tier"], called, {}, backend)  # pyright: ignore[reportArgumentType]
  fresh = json.loads(ledger.dumps([fresh]))
  names = ("verdict", "condition", "arms", "tests")
  difference = next(filter(None, (first(row[name], fresh[name], name) for name in names)), "")
  if difference:
    since = _same_call(row, claim, told, lab, made, f"it ran again and came out otherwise: {difference}")
  return {"since": since, "programs": 0, "again": 1, "sha256": hashlib.sha256(told.encode()).hexdigest()}


def _same_call(row: Row, claim: Claim, told: str, lab: Lab, made: Made, difference: str) -> str:
  """The commit that made the row, if its check gives here, bit for bit, what today's gives; and the claim is the same.

  Raises Unproved with the difference where it does not.
  """
  if not isinstance(claim.experiment, Check) or today.config_sha256(claim, row["tier"]) != row["config_sha256"]:
    raise Unproved(difference)
  commit = made.at(row)
  request = {"op": "call", "prefix": "experiments.claims", "name": claim.experiment.run}
  if canonical(lab.asked(request, commit)["samples"]) != told:
    raise Unproved(f"{difference}; so it does not in the tree of {commit[:10]}, on this machine")
  return commit


def _same_files(row: Row, claim: Claim, lab: Lab, made: Made, replay: bool) -> dict[str, Any]:
  """A bench holds while its own files read as they did, and the mechanisms it names do, or make the same programs."""
  commit = made.at(row)
  assert isinstance(claim.experiment, Bench)
  files = today.files(claim, row["tier"])
  words = lab.history.said_otherwise(commit)
  apart = [
    path for path in files if hosts.changed(lab.history.text(commit, path), (lab.base / path).read_bytes(), path, words)
  ]
  for path in apart:
    if not path.startswith("model/"):
      raise Unproved(f"{path} has changed since {commit[:10]}, and it measures; measure again")
  programs: dict[str, str] = {}
  for name, settings in today.standards(claim.experiment).items() if apart else ():
    before, after = (answer["config"] for answer in lab.both(commit, {"op": "card", "settings": settings}))
    compared = lab.compare(commit, before, after, None)
    if problem := first(before, after, "config") or compared.problem:
      raise Unproved(f"{apart[0]}, which it measures, has changed since {commit[:10]}; {name}: {problem}")
    programs |= {f"{name}: {part}": text for part, text in compared.programs.items()}
  told = hashlib.sha256(canonical([digest.code_sha256(files, lab.base), programs]).encode()).hexdigest()
  proof = {"since": commit, "programs": len(set(programs.values())), "files": len(files), "sha256": told}
  return proof | ({"forced": True} if made.forced(row) else {})


# ---------------------------------------------------------------------------------------------------------------------
# Trials: equal programs, or equal runs


def _by_programs(row: Row, claim: Claim, lab: Lab, made: Made, replay: bool) -> dict[str, Any]:
  """Compares what both trees say of every arm of the row."""
  commit = made.at(row)
  old, new = lab.both(commit, {"op": "resolve", "row": _asked(row)})
  if old["trials"] != row["trials"] or old["config_sha256"] != row["config_sha256"]:
    raise Unproved(f"{commit[:10]} has its code, but not its claim or its configs: name the commit with --since=")
  if test := first_in_tests(old["test"], new["test"]):
    raise Unproved(f"its claim's test has changed: {test}")
  if old["window"] != new["window"]:
    raise Unproved("the window of rates of its study has changed")
  ran = {path for config in old["configs"].values() for path in digest.files_in_use(config, lab.old(commit).root)}
  made.cover(row, sorted(ran))
  files = sorted({*map(moved.path_now, ran), *today.files(claim, row["tier"])})
  programs, replayed = {}, 0
  for arm, before in old["configs"].items():
    if option := first(before, new["configs"][arm], "config"):
      raise Unproved(f"{arm}: {option}")
    compared = lab.compare(commit, before, new["configs"][arm], files)
    if compared.problem and not replay:
      raise Unproved(f"{arm}: {compared.problem}")
    if compared.problem:
      problem = lab.replay(commit, before, new["configs"][arm])
      if problem:
        raise Unproved(f"{arm}: {compared.problem}; run again, {problem}")
      replayed += 1
    if compared.device != row["device"]:
      raise Unproved(f"it was made on {row['device']}, and this machine computes on {compared.device}")
    programs |= {f"{arm}: {name}": text for name, text in compared.programs.items()}
  told = hashlib.sha256(canonical(programs).encode()).hexdigest()
  proof = {"since": commit, "programs": len(set(programs.values())), "sha256": told}
  return proof | ({"replayed": replayed} if replayed else {}) | ({"forced": True} if made.forced(row) else {})


def _asked(row: Row) -> dict[str, Any]:
  return {name: row[name] for name in ("id", "tier", "seeds")} | {
    "arms": [{"name": entry["name"], "lr": entry["lr"]} for entry in row["arms"]]
  }
