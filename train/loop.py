"""One pack of members from its first step to its last, or to the step where someone asked it to stop."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from train import metrics
from train.state import Member, TrainState
from train.step import Ensemble

SAVE_EVERY = 60.0  # seconds between checkpoints

Row = dict[str, float]
Curves = list[list[Row]]  # one list of rows per member; row 0 is the untrained model


@dataclasses.dataclass(frozen=True)
class Fitted:
  """The end of a pack: `stopped` is True when it ended before its last step because `stop` said so.

  `step_seconds` is the median wall time of one member's step, without the first call, which compiles.
  """

  state: TrainState
  member: Member
  curves: Curves
  stopped: bool
  step_seconds: float = math.nan


def fit(
  whole: Ensemble,
  configs: Sequence[Mapping[str, Any]],
  train_data: Any,
  eval_data: Any,
  *,
  start: tuple[TrainState, Curves] | None = None,
  on_rows: Callable[[list[list[Row]]], None] = lambda rows: None,
  save: Callable[[TrainState, Curves], None] = lambda state, curves: None,
  stop: Callable[[], bool] = lambda: False,
) -> Fitted:
  """Trains and evaluates every `eval.every` steps.

  `start` resumes from a saved state and its rows, bit for bit. `on_rows` gets each evaluation's new rows, a list per
  member; `save` is called at most once a minute and when `stop` answers True. A pack whose members are all past saving
  (no finite loss) ends early: its missing evaluations are counted as failures by `metrics.summary`.
  """
  member = whole.members(configs)
  state, curves = start or (whole.init(configs), [[] for _ in configs])
  steps, every = configs[0]["train"]["steps"], configs[0]["eval"]["every"]
  step, saved_at = int(state.step[0]), time.monotonic()
  durations: list[float] = []
  first = [] if curves[0] else _rows(whole, whole.evaluate(state, member, eval_data), 0)
  while step < steps:
    began = time.monotonic()
    state, losses_Ek, norms_Ek = jax.block_until_ready(whole.advance(state, member, train_data))
    durations.append((time.monotonic() - began) / (every * len(configs)))
    step += every
    rows = _rows(whole, whole.evaluate(state, member, eval_data), step)
    new = _training(rows, first, losses_Ek, norms_Ek)
    first = []
    for curve, fresh in zip(curves, new, strict=True):
      curve.extend(fresh)
    on_rows(new)
    if not any(math.isfinite(curve[-1]["train_loss"]) for curve in curves):
      break
    stopping = step < steps and stop()
    if stopping or (step < steps and time.monotonic() - saved_at > SAVE_EVERY):
      save(state, curves)
      saved_at = time.monotonic()
    if stopping:
      return Fitted(state, member, curves, stopped=True)
  pace = statistics.median(durations[1:]) if durations[1:] else math.nan
  return Fitted(state, member, curves, stopped=False, step_seconds=pace)


def _rows(whole: Ensemble, sums_E: metrics.Sums, step: int) -> list[Row]:
  """One row per member from an evaluation."""
  host = jax.device_get(sums_E)
  count = len(host.nll)
  per_member = [jax.tree.map(lambda leaf, e=e: leaf[e], host) for e in range(count)]
  return [{"step": step} | metrics.means(sums, whole.task.slices) for sums in per_member]


def _training(rows: list[Row], first: list[Row], losses_Ek, norms_Ek) -> list[list[Row]]:
  """Adds what training saw since the last evaluation; the untrained row gets the loss of the very first step."""
  losses_Ek, norms_Ek = jax.device_get((losses_Ek, norms_Ek))
  new = []
  for e, row in enumerate(rows):
    losses_k, norms_k = losses_Ek[e], norms_Ek[e]
    grown = row | {
      "train_loss": float(losses_k.mean()),
      "grad_norm": float(norms_k.mean()),
      "grad_norm_max": float(norms_k.max()),
    }
    head = first[e] | {"train_loss": float(losses_k[0]), "grad_norm": float(norms_k[0])} if first else None
    head = head and head | {"grad_norm_max": head["grad_norm"]}
    new.append([head, grown] if head else [grown])
  return new
