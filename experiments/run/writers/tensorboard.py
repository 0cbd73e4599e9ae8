"""Event files for TensorBoard: `tensorboard --logdir WORKDIR/writers/tensorboard` shows one run per trial.

A record of the file is length, its checksum, an Event, its checksum. Scalars are the curve's measures by their names
and, as end/NAME, those of the result; the config stands as text and, with the measures, in the table of HPARAMS.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.record import atomic
from experiments.run.writers.writer import Trial, Writer, need

VERSION = "brain.Event:2"  # what the first event of a file says


class Tensorboard(Writer):
  """Writes each trial as one event file."""

  def __init__(self):
    need("tensorboardX", "tensorboard")

  def write(self, trial: Trial, folder: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]: made when imported
    from tensorboardX.record_writer import RecordWriter

    now = time.time()
    file = RecordWriter(str(folder / f"events.out.tfevents.{int(now)}.{trial.key}"))
    try:
      file.write(Event(wall_time=now, file_version=VERSION).SerializeToString())
      for step, summary in _summaries(trial):
        file.write(Event(wall_time=now, step=step, summary=summary).SerializeToString())
    finally:
      file.close()


def _summaries(trial: Trial) -> Iterator[tuple[int, Any]]:
  """(step, summary) of all that is written: the curve, the end, the texts, the table."""
  from tensorboardX import summary

  for row in trial.curve:
    yield int(row["step"]), _scalars({name: value for name, value in row.items() if name != "step"})
  end = {f"end/{name}": value for name, value in trial.measures.items()}
  yield trial.steps, _scalars(end)
  yield trial.steps, summary.text("status", _status(trial))
  yield trial.steps, summary.text("config", f"```\n{atomic.canonical(trial.config)}\n```")
  for part in summary.hparams({key: _plain(value) for key, value in trial.settings.items()}, end):
    yield 0, part


def _scalars(values: Mapping[str, float]) -> Any:
  from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]: made when imported

  return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _status(trial: Trial) -> str:
  stale = ", stale" if trial.stale else ""
  return f"{trial.status}{stale}" + (f": {trial.cause}" if trial.cause else "")


def _plain(value: Any) -> Any:
  """A value as the table holds it: number, truth or text."""
  return value if isinstance(value, bool | int | float | str) else str(value)
