"""Trains one pack inside a worker: resumes from its checkpoint, streams rows, runs probes, writes results last."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.record import atomic
from experiments.run.cohorts import Pack, hash_of
from experiments.run.store import Store, number
from experiments.worker import brief, examine, measured, readings
from model import build
from model.errors import Refused
from train import checkpoint, sanity
from train.generate import rehearse
from train.loop import Curves, fit
from train.step import Ensemble


class Cohort(NamedTuple):
  """What the packs of one cohort share: task, compiled functions, data on the device."""

  task: Any
  whole: Ensemble
  train_data: Any
  eval_data: dict[str, Any]  # by split
  data_sha256: dict[str, str]  # of the files that the task says it reads


def prepare(config: Mapping[str, Any]) -> Cohort:
  """Builds task, ensemble and data of a cohort. Raises Refused when data or options are wrong."""
  with readings.noted():
    task = build.make("tasks", dict(config["task"]), package="train")
    sanity.check_task(task, f"task.kind={config['task']['kind']}")
    with examine.no_exit():
      whole = Ensemble(config, task)
    data = task.data("train")
  options = brief.options(config)
  if options:
    whole.advance, whole.evaluate = (brief.Brief(jitted, options) for jitted in (whole.advance, whole.evaluate))
  return Cohort(task, whole, _on_device(data), {}, dict(task.data_sha256()))


def _on_device(data: Any) -> Any:
  return jax.tree.map(jax.numpy.asarray, data)


def run(
  store: Store,
  pack: Pack,
  cohort: Cohort,
  *,
  stamp: Callable[[Mapping[str, Any]], Mapping[str, Any]],
  keep: bool = False,
  stop: Callable[[], bool] = lambda: False,
  progress: Callable[[int], None] = lambda step: None,
  warn: Callable[[str], None] = lambda text: None,
) -> bool:
  """Trains the pack to its end and writes one result per member; False when it stopped and saved before.

  `stamp(config)` is added to that member's result (code digest, device). `keep` keeps the final checkpoint. What other
  code has begun is begun again.
  """
  started = time.monotonic()
  stamps = [dict(stamp(config)) for config in pack.configs]
  split = pack.configs[0]["eval"]["split"]
  if any(config["eval"]["judge"] for config in pack.configs):
    rehearse(cohort.whole, split)
    examine.judge(cohort.task, pack.configs[0], split)
  if split not in cohort.eval_data:
    with readings.noted():
      cohort.eval_data[split] = _on_device(cohort.task.data(split))
  examine.batches(cohort.task, cohort.train_data, pack.configs[0], "train")
  examine.batches(cohort.task, cohort.eval_data[split], pack.configs[0], split)
  stamps = [made | readings.record(config) for made, config in zip(stamps, pack.configs, strict=True)]
  makers = [hash_of([made.get("code_sha256"), made.get("read")])[:16] for made in stamps]
  folder = store.cohort(pack.key) / "checkpoints"
  if all(store.result(key) is not None for key in pack.keys):
    shutil.rmtree(folder, ignore_errors=True)  # what has ended and is asked for again was made by other code or data
  start, before = _resumed(cohort.whole, pack, folder, warn, makers)
  curves: Curves = [list(curve) for curve in start[1]] if start else [[] for _ in pack.keys]
  for key, config, curve in zip(pack.keys, pack.configs, curves, strict=True):
    (store.trial(key) / "result.json").unlink(missing_ok=True)  # of other code: it goes with its curve
    store.begin(key, config, curve)
  _register(store, pack)

  def on_rows(new):
    for key, rows in zip(pack.keys, new, strict=True):
      store.append(key, rows)
    progress(int(new[0][-1]["step"]))

  def save(state, curves):
    extra = {"curves": curves, "seconds": before + time.monotonic() - started, "makers": makers}
    checkpoint.save(folder, int(state.step[0]), state, extra)

  fitted = fit(
    cohort.whole,
    pack.configs,
    cohort.train_data,
    cohort.eval_data[split],
    start=(start[0], curves) if start else None,
    on_rows=on_rows,
    save=save,
    stop=stop,
  )
  if fitted.stopped:
    return False
  if keep:
    save(fitted.state, fitted.curves)
  seconds = before + time.monotonic() - started
  for index, key in enumerate(pack.keys):
    config = pack.configs[index]
    times = {"seconds": seconds / len(pack.keys), "step_seconds": fitted.step_seconds}
    found = measured.result(cohort, config, fitted, index)
    store.finish(key, config, fitted.curves[index], {**found, **stamps[index], **times})
  if not keep:
    store.forget_cohort(pack.key)
  return True


def fail(store: Store, pack: Pack, cause: str, stamp: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
  """Records that the pack's trials failed, and why; the next command tries them again."""
  for key, config in zip(pack.keys, pack.configs, strict=True):
    store.fail(key, config, cause, stamp(config))


def restore(store: Store, pack: Pack, cohort: Cohort, warn: Callable[[str], None]):
  """The kept final state of a finished pack and its member numbers, for `assay eval`."""
  start, _ = _resume(cohort.whole, pack, store.cohort(pack.key) / "checkpoints", warn)
  return (start[0], cohort.whole.members(pack.configs)) if start else None


def _resumed(whole: Ensemble, pack: Pack, folder: Path, warn, makers: list[str]):
  """As `_resume`; where no checkpoint can be used, they go and the trials start again."""
  try:
    return _resume(whole, pack, folder, warn, makers)
  except Refused as fault:
    warn(f"{str(fault).partition(';')[0]}; it will run again")
    shutil.rmtree(folder, ignore_errors=True)
    return None, 0.0


def _resume(whole: Ensemble, pack: Pack, folder: Path, warn, makers: list[str] | None = None):
  """State and curves of the newest whole checkpoint, and its seconds. Raises Refused for one of other code or data.

  makers: digests of today's code and data, one per member; None: whatever left it.
  """
  if checkpoint.latest(folder) is None:
    return None, 0.0
  like = jax.eval_shape(lambda: whole.init(pack.configs))
  tree, extra = checkpoint.restore(folder, like, warn=warn)
  if makers is not None and extra.get("makers") != makers:
    raise Refused(f"the checkpoint in {folder} was made by other code or data; start again")
  curves = [[{name: number(value) for name, value in row.items()} for row in rows] for rows in extra["curves"]]
  return (tree, curves), float(extra["seconds"])


def _register(store: Store, pack: Pack) -> None:
  folder = store.cohort(pack.key)
  folder.mkdir(parents=True, exist_ok=True)
  atomic.write_sealed(folder / "members.json", {"schema": 1, "cohort": pack.cohort, "trials": list(pack.keys)})
  with (folder / "log.txt").open("a") as log:
    log.write(f"{len(pack.keys)} members from step {len(store.written(pack.keys[0]))}\n")
