"""What our modules were called before, so that older trees and rows can be held against today's.

This file imports nothing of ours: a script that answers for an old tree loads it by its path.
"""

import re

ROOMS = {
  "protocol": "claim claim_files study reproduce assess verdict stats looks sequential replication compare sweep"
  " measures scales today calibrate calibration integrity calls",
  "run": "cohorts runner store progress signals",
  "worker": "pack memory brief measured readings examine",
  "record": "digest stamp corpora declared atomic",
  "proof": "prove trees made history hosts lowering differences",
  "ledger": "ledger",
  "cli": "cli",
}
CHECKS = ("add", "ctx", "ffn", "head", "mech", "norm", "pos", "qk", "res", "rnn", "scale")

MOVED = {  # today's name: the one before it
  **{f"experiments.{room}.{name}": f"experiments.{name}" for room, names in ROOMS.items() for name in names.split()},
  **{f"experiments.claims.{group}.checks": f"experiments.checks.{group}" for group in CHECKS},
  "experiments.claims.mech.checks_model": "experiments.checks.mech_model",
  "experiments.claims.mech.checks_sight": "experiments.checks.mech_sight",
  "experiments.claims.grid": "experiments.checks.grid",
  "experiments.claims.known_arms": "experiments.checks.known_arms",
  "experiments.worker.main": "experiments.worker",
  "experiments.worker.serve": "experiments.work",
  "experiments.pages.items": "experiments.cards",
  "experiments.pages.from_runs": "experiments.outcome",
  "experiments.protocol.catalog": "experiments.claims.catalog",
  "experiments.probes.recording": "experiments.probes.look",
  "model.mask": "model.see",
}
JOINED = {  # modules that became part of another one or were named anew later, by each name they had
  "experiments.turns": "experiments.run.cohorts",
  "experiments.run.turns": "experiments.run.cohorts",
  "experiments.flags": "experiments.cli.cli",
  "experiments.cli.flags": "experiments.cli.cli",
  "experiments.sources": "experiments.record.digest",
  "experiments.record.sources": "experiments.record.digest",
  "experiments.run.estimate": "experiments.protocol.estimate",
  "experiments.protocol.ahead": "experiments.protocol.estimate",
  "experiments.pages.outcome": "experiments.pages.from_runs",
  "experiments.pages.results": "experiments.api",
  "configs.errors": "configs",
  "configs.dials": "configs.constructor",
}
SINCE = {before: now for now, before in MOVED.items()} | JOINED
RENAMED = {  # things in modules: the one before, today's
  "train.step.ensemble": "train.step.Ensemble",
  "model.see.See": "model.mask.Mask",
  "model.see.Where": "model.mask.Positions",
  "model.block.Place": "model.block.Context",
  "model.language.Bert": "model.models.bert.Bert",
  "model.language.Gpt": "model.models.gpt.Gpt",
  "model.language.Seq2Seq": "model.models.seq2seq.Seq2Seq",
}
WORDS = {  # identifiers: the one before, today's
  "See": "Mask",
  "Where": "Positions",
  "admit": "check",
  "look": "recording",
  "see": "mask",
  "where": "positions",
  "source_where": "source_positions",
}
OURS = ("configs", "experiments", "model", "train")


def before(module: str) -> str:
  """What a module of today was called; its name where it was called so before."""
  return MOVED.get(module, module)


def now(name: str) -> str:
  """Today's name of a module, or of something in it, that an older file imports."""
  if name in RENAMED:
    return RENAMED[name]
  head, tail = name, ""
  while head:
    if head in MOVED:  # first: a folder of today may be called as a file was
      return name
    if head in SINCE:
      return SINCE[head] + tail
    head, _, last = head.rpartition(".")
    tail = f".{last}{tail}"
  return name


def path_before(path: str) -> str:
  """Where a file of today lay."""
  return _path(MOVED, path)


def path_now(path: str) -> str:
  """Where a file of an older tree lies today."""
  return _path(SINCE, path)


def remedy(refusal: str) -> str:
  """What to add to a text that tells of an import which fails: today's name of what a file calls as before, or ""."""
  lost = re.search(r"No module named '([\w.]+)'|cannot import name '(\w+)' from '([\w.]+)'", refusal)
  if lost is None:
    return ""
  old = lost[1] or f"{lost[3]}.{lost[2]}"
  known = old.partition(".")[0] in OURS and now(old) != old
  return f"; {old} is {now(old)} now" if known and f"{now(old)} now" not in refusal else ""


def _path(table: dict[str, str], path: str) -> str:
  module = path.removesuffix(".py").replace("/", ".")
  if not path.endswith(".py") or module not in table:
    return path
  place = table[module].replace(".", "/")
  return f"{place}.py" if "/" in place else f"{place}/__init__.py"  # our packages alone have names without a dot
