"""`assay eval WORKDIR`: the kept model of `assay train`, evaluated again."""

import json
import sys
from pathlib import Path
from typing import Any

from experiments.store import Store
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Loss, accuracy, slices and, where the task has one, the judge's metrics on the chosen split."""
  root = Path(space.workdir)
  plan = root / "plan.json"
  if not plan.is_file() or json.loads(plan.read_text()).get("command") != "train":
    raise Refused(f"{root} is no workdir of `assay train`; train first, or give its folder")
  from experiments import pack, stamp
  from experiments.cohorts import Pack, cohort_key
  from train import evaluation

  store, key = Store(root), json.loads(plan.read_text())["trial"]
  config = store.config(key)
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
