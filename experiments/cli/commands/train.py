"""`assay train`: one model, kept; resumes where it was stopped."""

import sys
from typing import Any

from configs import override
from experiments.cli import flags
from experiments.record import corpora
from experiments.run.cohorts import cohort_key, trial_key
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import opened

SHOWN = ("loss", "accuracy", "wer", "per", "auc", "t90", "train_loss")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Trains the config's model in its workdir; the document holds the trial's key and result."""
  config = override.resolve(override.load(space.config, overrides))
  corpora.present(config)
  key = trial_key(config, corpora.hashes(config))
  root = flags.workdir(space.workdir, "train", space.config)
  options = Options(jobs=1, keep=True, profile=space.profile, keep_stale=space.keep_stale)
  with (
    opened(root, {"command": "train", "trial": key}, config) as store,
    Progress(f"train {space.config}") as progress,
    Runner(store, options, progress) as runner,
  ):
    result = runner.trials({key: config})[key]
  measures = {name: result["measures"][name] for name in SHOWN if name in result["measures"]}
  figures = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
  why = f" ({result['cause']})" if result["cause"] else ""
  print(f"{result['status']}{why} after {result['steps']} steps: {figures}\n{root}", file=sys.stderr)
  document = {"schema": 1, "workdir": str(root), "trial": key, "cohort": cohort_key(config), **result}
  return document, 3 if result["status"] == "failed" else 0
