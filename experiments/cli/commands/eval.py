"""`assay eval WORKDIR`: the kept model of `assay train`, evaluated again."""

import sys
from pathlib import Path
from typing import Any

from experiments.run import workdirs
from experiments.run.store import Store
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Loss, accuracy, slices and, where the task has one, the judge's metrics on the chosen split."""
  root = Path(space.workdir)
  key, config = workdirs.trained(root)
  from experiments.record import stamp
  from experiments.run.cohorts import Pack, cohort_key
  from experiments.worker import pack
  from train import evaluation

  store = Store(root)
  result = store.result(key)
  changed = stamp.changed(config, result) if result else []
  if changed:
    print(f"warning: the model was trained by other code: {', '.join(changed)} changed since", file=sys.stderr)
  one = Pack(cohort_key(config), (key,), (config,))
  cohort = pack.prepare(config)
  kept = pack.restore(store, one, cohort, lambda text: print(f"warning: {text}", file=sys.stderr))
  if kept is None:
    raise Refused(f"{root} keeps no checkpoint yet; run `assay train` with the same config to its end")
  state, member = kept
  measures = evaluation.measure(cohort.whole, state, member, cohort.task, config, space.split)
  if not space.json:
    for name, value in measures.items():
      print(f"{name}: {value:.6g}")
  document = {"schema": 1, "workdir": str(root), "trial": key, "split": space.split, "step": int(state.step[0])}
  return document | {"stale": bool(changed), "measures": measures}, 0
