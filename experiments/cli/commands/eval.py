"""`assay eval WORKDIR`: the kept model of `assay train`, evaluated again."""

import sys
from pathlib import Path
from typing import Any

from experiments.record.atomic import Damaged
from experiments.record.corpora import hashes
from experiments.run import store as stores
from experiments.run.cohorts import trial_key
from experiments.run.store import Store
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Loss, accuracy, slices and, where the task has one, the judge's metrics on the chosen split."""
  root = Path(space.workdir)
  key, config = _trained(root)
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


def _trained(root: Path) -> tuple[str, dict[str, Any]]:
  """The workdir's trial and its config, proved to belong together."""
  try:
    plan = stores.plan(root) or {}
  except Damaged as damage:
    raise Refused(f"{root / 'plan.json'} is damaged ({damage}); run `assay check {root} --repair`") from damage
  key = plan.get("trial")
  if plan.get("command") != "train" or not isinstance(key, str):
    raise Refused(f"{root} is no workdir of `assay train`; train first, or give its folder")
  try:
    config = Store(root).config(key)
    if trial_key(config, hashes(config)) != key:
      raise Damaged("config.json is not that of the trial")
  except FileNotFoundError as error:
    raise Refused(f"{root} keeps no model; run `assay train` with the same config again") from error
  except (Damaged, KeyError, TypeError) as damage:
    raise Refused(
      f"trial {key} of {root} is damaged ({damage}); run `assay train` with the same config again: it will run again"
    ) from damage
  return key, config
