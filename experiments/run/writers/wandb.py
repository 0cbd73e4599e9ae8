"""Runs for Weights & Biases: one per trial, named and told apart by the trial's key, in a group named like the workdir.

Without a key (WANDB_API_KEY) everything is written offline, below WORKDIR/writers/wandb, and
`wandb sync WORKDIR/writers/wandb/*/wandb/offline-run-*` sends it later. WANDB_MODE and WANDB_PROJECT are heeded. A
trial that ran again keeps its run's id.
"""

import os
import zlib
from pathlib import Path
from typing import Any

from experiments.run.writers.writer import Trial, Writer, need

PROJECT = "attention-assay"
PATIENCE = 60.0  # seconds in which a run must have begun
QUIET = {  # nothing on the terminal, and nothing that is no part of the trial
  "silent": True,
  "console": "off",
  "save_code": False,
  "disable_git": True,
  "x_disable_stats": True,
  "x_disable_meta": True,
  "x_save_requirements": False,
  "init_timeout": PATIENCE,
}


class Wandb(Writer):
  """Writes each trial as one run."""

  def __init__(self):
    need("wandb", "wandb")

  def write(self, trial: Trial, folder: Path) -> None:
    import wandb

    run = wandb.init(
      project=os.environ.get("WANDB_PROJECT", PROJECT),
      mode=mode(),
      dir=str(folder),
      id=f"{trial.key}-{zlib.crc32(str(trial.workdir.resolve()).encode()):08x}",
      name=trial.key,
      group=trial.workdir.resolve().name,
      config=trial.settings,
      reinit="create_new",
      settings=wandb.Settings(**QUIET),
    )
    try:
      for row in trial.curve:
        values = {name: value for name, value in row.items() if name != "step"}
        run.log(values, step=int(row["step"]), commit=True)  # at once: a row that waits would overwrite the summary
      run.summary.update({**trial.measures, "steps": trial.steps, "seconds": trial.seconds})
      run.summary.update({"status": trial.status, "cause": trial.cause, "stale": trial.stale})
    finally:
      run.finish(exit_code=int(trial.status == "failed"))


def mode() -> Any:
  """Offline where there is no key, unless WANDB_MODE says otherwise."""
  return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
