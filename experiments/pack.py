"""Trains one pack inside a worker: resumes from its checkpoint, streams rows, runs probes, writes results last."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import atomic, brief, examine
from experiments.cohorts import Pack
from experiments.probes.subject import Subject
from experiments.store import Store, number
from model import build
from train import checkpoint, metrics, sanity
from train.generate import generator, rehearse
from train.loop import Curves, Fitted, fit
from train.state import STREAMS
from train.step import Ensemble, ensemble


class Cohort(NamedTuple):
  """What the packs of one cohort share: task, compiled functions, data on the device."""

  task: Any
  whole: Ensemble
  train_data: Any
  eval_data: dict[str, Any]  # by split


def prepare(config: Mapping[str, Any]) -> Cohort:
  """Builds task, ensemble and data of a cohort. Raises Refused when data or options are wrong."""
  task = build.make("tasks", dict(config["task"]), package="train")
  sanity.check_task(task, f"task.kind={config['task']['kind']}")
  with examine.no_exit():
    whole = ensemble(config, task)
  options = brief.options(config)
  if options:
    programs = {name: brief.Brief(getattr(whole, name), options) for name in ("advance", "evaluate")}
    whole = dataclasses.replace(whole, **programs)
  return Cohort(task, whole, _on_device(task.data("train")), {})


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

  `stamp(config)` is added to that member's result (code digest, device). `keep` keeps the final checkpoint.
  """
  started = time.monotonic()
  split = pack.configs[0]["eval"]["split"]
  if any(config["eval"]["judge"] for config in pack.configs):
    rehearse(cohort.whole, split)
  if split not in cohort.eval_data:
    cohort.eval_data[split] = _on_device(cohort.task.data(split))
  examine.batches(cohort.task, cohort.train_data, pack.configs[0], "train")
  examine.batches(cohort.task, cohort.eval_data[split], pack.configs[0], split)
  folder = store.cohort(pack.key) / "checkpoints"
  start, before = _resume(cohort.whole, pack, folder, warn)
  curves: Curves = [list(curve) for curve in start[1]] if start else [[] for _ in pack.keys]
  for key, config, curve in zip(pack.keys, pack.configs, curves, strict=True):
    store.begin(key, config, curve)
  _register(store, pack)

  def on_rows(new):
    for key, rows in zip(pack.keys, new, strict=True):
      store.append(key, rows)
    progress(int(new[0][-1]["step"]))

  def save(state, curves):
    extra = {"curves": curves, "seconds": before + time.monotonic() - started}
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
    store.finish(key, fitted.curves[index], {**_result(cohort, config, fitted, index), **stamp(config), **times})
  if not keep:
    store.forget_cohort(pack.key)
  return True


def fail(store: Store, pack: Pack, cause: str, stamp: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
  """Records that the pack's trials failed, and why; the next command tries them again."""
  for key, config in zip(pack.keys, pack.configs, strict=True):
    store.begin(key, config, store.curve(key))
    result = {"schema": 1, "status": "failed", "cause": cause, "steps": 0, "measures": {}, "seconds": 0.0}
    atomic.write_json(store.trial(key) / "result.json", {**result, **stamp(config)})


def restore(store: Store, pack: Pack, cohort: Cohort, warn: Callable[[str], None]):
  """The kept final state of a finished pack and its member numbers, for `assay eval`."""
  start, _ = _resume(cohort.whole, pack, store.cohort(pack.key) / "checkpoints", warn)
  return (start[0], cohort.whole.members(pack.configs)) if start else None


def _resume(whole: Ensemble, pack: Pack, folder: Path, warn):
  if not folder.exists():
    return None, 0.0
  like = jax.eval_shape(lambda: whole.init(pack.configs))
  tree, extra = checkpoint.restore(folder, like, warn=warn)
  curves = [[{name: number(value) for name, value in row.items()} for row in rows] for rows in extra["curves"]]
  return (tree, curves), float(extra["seconds"])


def _register(store: Store, pack: Pack) -> None:
  folder = store.cohort(pack.key)
  folder.mkdir(parents=True, exist_ok=True)
  atomic.write_json(folder / "members.json", {"schema": 1, "cohort": pack.cohort, "trials": list(pack.keys)})
  with (folder / "log.txt").open("a") as log:
    log.write(f"{len(pack.keys)} members from step {len(store.curve(pack.keys[0]))}\n")


def _result(cohort: Cohort, config: Mapping[str, Any], fitted: Fitted, index: int) -> dict[str, Any]:
  rows = fitted.curves[index]
  planned = config["train"]["steps"] // config["eval"]["every"]
  status, cause = metrics.status(rows)
  measures = metrics.summary(rows, planned)
  if config["eval"]["judge"] and status != "diverged":
    generate = generator(cohort.whole, fitted.state, fitted.member, index)
    measures |= cohort.task.judge(generate, config["eval"]["split"])
  for name in config["probes"]:
    read = importlib.import_module(f"experiments.probes.{name}").read
    numbers = read(subject(cohort, config, fitted, index))
    measures |= {f"probe.{name}.{key}": float(value) for key, value in numbers.items()}
  return {"schema": 1, "status": status, "cause": cause, "steps": int(rows[-1]["step"]), "measures": measures}


def subject(cohort: Cohort, config: Mapping[str, Any], fitted: Fitted, index: int) -> Subject:
  """What a probe may look at: the trained model, the same model untrained, and fresh test batches."""
  size, data = config["eval"]["batch"], cohort.eval_data[config["eval"]["split"]]
  untrained = cohort.whole.init([config])
  alone = jax.tree.map(lambda leaf: leaf[index : index + 1], fitted.member)
  key = jax.random.fold_in(fitted.state.key[index], STREAMS["test"])
  return Subject(
    model=cohort.whole.model(fitted.state, fitted.member, index),
    untrained=cohort.whole.model(untrained, alone, 0),
    task=cohort.task,
    config=config,
    batch=lambda number: cohort.task.sample(jax.random.fold_in(key, 1000 + number), size, data),
  )
