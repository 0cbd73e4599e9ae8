"""`assay train`: one model, kept; resumes where it was stopped."""

import sys
from typing import Any

from experiments import api

SHOWN = ("loss", "accuracy", "wer", "per", "auc", "t90", "train_loss")


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Trains the config's model in its workdir; the document holds the trial's key and result."""
  options = {name: getattr(space, name) for name in ("workdir", "profile", "keep_stale", "writer")}
  trained = api.train(space.config, overrides, **options)
  result = trained.found
  found = result["measures"]
  measures = {name: found[name] for name in [*SHOWN, *trained.judged] if name in found}
  figures = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
  why = f" ({result['cause']})" if result["cause"] else ""
  ended = f"{result['status']}{why} after {result['steps']} steps"
  print(": ".join(filter(None, (ended, figures))) + f"\n{trained.workdir}", file=sys.stderr)
  return trained.document, 0 if trained.complete else 3
