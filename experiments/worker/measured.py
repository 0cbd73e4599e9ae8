"""What is measured of a trained member at its end: its curve's summary, what its task's judge says, its probes.

`cohort` is an `experiments.worker.pack.Cohort`. This file decides numbers, so it is part of every trial's
digest; pack.py, which schedules and stores, is not.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import jax

from experiments.probes.subject import Subject
from train import metrics
from train.generate import generator
from train.loop import Fitted
from train.state import STREAMS


def result(cohort: Any, config: Mapping[str, Any], fitted: Fitted, index: int) -> dict[str, Any]:
  """Status and measures of the member at `index`, as its result.json holds them."""
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


def subject(cohort: Any, config: Mapping[str, Any], fitted: Fitted, index: int) -> Subject:
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
