"""Runs the command as a user does, in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.train.tiny import TINY

ROOT = Path(__file__).parents[2]

CLAIM = f"""
from experiments.protocol.claim import Claim, Study, Trial, greater

STUDY = Study(
  name="tiny", card="recall", metric="auc", grid=(1e-3, 1e-2), tuning=(0, 1), reporting=(100, 101, 102),
  arms={{"dot": {{"model.attention.kind": "dot"}}, "unscaled": {{"model.attention.scale": 1.0}}}},
  tiers={{"quick": {TINY!r}}},
)
CLAIMS = (
  Claim(id="MINE-TINY", document="extension", place="extension", statement="Scaling makes recall faster.",
    measure="mean accuracy",
    experiment=Trial(STUDY, greater("dot", "unscaled", 0.0))),
)
"""

SWEEP = ["--config=recall", *(f"--config.{key}={value}" for key, value in TINY.items()), "--axis", "optim.lr=1e-3,1e-2"]


def assay(*args, cwd=ROOT, **env):
  """The finished process."""
  return subprocess.run(command(*args), cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False)


def started(*args, cwd=ROOT, **env):
  """A process that goes on."""
  pipe = subprocess.PIPE
  return subprocess.Popen(command(*args), cwd=cwd, env=environment(**env), stdout=pipe, stderr=pipe, text=True)


def command(*args):
  return [sys.executable, "-m", "experiments.cli", *map(str, args)]


def environment(**env):
  """Commands compile with some optimization: what takes no time to compile would not be kept for the next process."""
  flags = os.environ["XLA_FLAGS"].replace("optimization_level=0", "optimization_level=1")
  return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **env}


def killed_after(seconds, *args, cwd=ROOT):
  """Starts the command and kills it with -9; True when it was still running."""
  process = started(*args, cwd=cwd)
  try:
    process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.kill()
    process.communicate()
    return True
  return False


def fingerprint(workdir: Path):
  """Ledger rows without `run` and its seal, and the hash of every trial's config and metrics and its measures."""
  rows = [json.loads(line) for line in _lines(workdir / "ledger.jsonl")]
  trials = {}
  for folder in sorted((workdir / "trials").iterdir()):
    result = json.loads((folder / "result.json").read_text())
    files = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("config.json", "metrics.jsonl")]
    trials[folder.name] = (*files, result["status"], result["steps"], json.dumps(result["measures"], sort_keys=True))
  return [{name: value for name, value in row.items() if name not in ("run", "sha256")} for row in rows], trials


def _lines(path: Path):
  return path.read_text().splitlines() if path.exists() else []
