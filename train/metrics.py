"""Losses and scores as sums, so that batches, slices and shards add up; and the summary of one run's curve."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.errors import Refused

NO_LOSS = 1e-6  # nats; a smaller loss is rounding
UNMOVED = 1e-4  # relative change of the evaluation's loss; the smallest useful rate changes it a hundred times as much
TARGET = 0.9  # accuracy at which a run counts as having learned, for the time to target


class Sums(NamedTuple):
  """Weighted sums over predictions; L slices of difficulty."""

  nll: jax.Array
  right: jax.Array
  weight: jax.Array
  slice_right_L: jax.Array
  slice_weight_L: jax.Array


def cross_entropy(logits_BTRV: jax.Array, targets_BTR: jax.Array, weights_BTR: jax.Array, smoothing=0.0) -> jax.Array:
  """Weighted mean cross-entropy in nats; label smoothing spreads `smoothing` evenly over V (Szegedy et al. 2016)."""
  logp_BTRV = jax.nn.log_softmax(logits_BTRV)
  target_BTR = jnp.take_along_axis(logp_BTRV, targets_BTR[..., None], axis=-1)[..., 0]
  loss_BTR = -(1.0 - smoothing) * target_BTR - smoothing * logp_BTRV.mean(-1)
  return (loss_BTR * weights_BTR).sum() / jnp.maximum(weights_BTR.sum(), 1.0)


def score(logits_BTRV, targets_BTR, weights_BTR, slice_BTR, slices: int) -> Sums:
  """Sums of one batch. A prediction from logits that are not finite is never right."""
  logp_BTRV = jax.nn.log_softmax(logits_BTRV)
  nll_BTR = -jnp.take_along_axis(logp_BTRV, targets_BTR[..., None], axis=-1)[..., 0]
  right_BTR = (logits_BTRV.argmax(-1) == targets_BTR) & jnp.isfinite(nll_BTR)
  member_BTRL = jax.nn.one_hot(slice_BTR, slices)
  return Sums(
    nll=(nll_BTR * weights_BTR).sum(),
    right=(right_BTR * weights_BTR).sum(),
    weight=weights_BTR.sum(),
    slice_right_L=jnp.einsum("btr,btrl->l", right_BTR * weights_BTR, member_BTRL),
    slice_weight_L=jnp.einsum("btr,btrl->l", weights_BTR, member_BTRL),
  )


def means(sums: Sums, slices: Sequence[str]) -> dict[str, float]:
  """Loss in nats, accuracy and accuracy per slice, from the sums of one member on the host.

  Raises Refused where nothing was asked: a mean over no target is no number.
  """
  weight = float(sums.weight)
  if not weight > 0:
    raise Refused(f"the targets of an evaluation weigh {weight:g} in all; raise eval.batches, or correct the task")
  row = {"loss": float(sums.nll) / weight, "accuracy": float(sums.right) / weight}
  for name, right, total in zip(slices, sums.slice_right_L, sums.slice_weight_L, strict=True):
    row[f"accuracy/{name}"] = float(right) / float(total) if total > 0 else math.nan
  return row


def status(rows: Sequence[dict[str, float]]) -> tuple[str, str | None]:
  """(status, cause) of a finished curve, judged by the training loss; `start` is the loss of the very first step.

  Two kinds of run have no slope to judge: what is answered without a loss from the first step on is done, and where the
  untrained model's evaluation (the same batches every time) comes back, nothing moved, whatever the batches' noise did.
  """
  losses = [row["train_loss"] for row in rows[1:]]
  start = rows[0]["train_loss"]
  if not all(math.isfinite(value) for value in [start, *losses, rows[-1]["loss"]]):
    return "diverged", "a loss is not finite"
  if max(start, *losses) < NO_LOSS:
    return "done", "there was nothing to learn: the training loss was 0 from the first step"
  if all(abs(row["loss"] - rows[0]["loss"]) <= UNMOVED * rows[0]["loss"] for row in rows[1:]):
    return (
      "stalled",
      f"the evaluation stays at the untrained model's loss {rows[0]['loss']:.4g}: no step moved anything",
    )
  if losses[-1] > start:
    return "diverged", f"training loss {losses[-1]:.4g} ends above its start {start:.4g}"
  if min(losses) >= 0.95 * start:
    return "stalled", f"training loss never fell below 95 % of its start {start:.4g}"
  return "done", None


def summary(rows: Sequence[dict[str, float]], planned: int) -> dict[str, float]:
  """The measures of one run from its curve; row 0 is the untrained model, `planned` evaluations should follow.

  Evaluations that a run did not live to see count as accuracy 0. `auc` is the mean accuracy over the evaluations;
  `t90` the first step from which two successive evaluations reach 90 % (inf when never), `t90_restricted` the same
  with the budget in place of inf.
  """
  curve, last = rows[1:], rows[-1]
  accuracy = [row["accuracy"] for row in curve] + [0.0] * (planned - len(curve))
  every = rows[1]["step"] - rows[0]["step"]
  pairs = zip(accuracy, [*accuracy[1:], accuracy[-1]], strict=True)
  reached = [i for i, (now, after) in enumerate(pairs) if now >= TARGET and after >= TARGET]
  t90 = (reached[0] + 1) * every if reached else math.inf
  measures = {name: value for name, value in last.items() if name != "step"}
  return measures | {
    "accuracy": accuracy[-1],
    "initial_loss": rows[0]["loss"],
    "best_loss": min((row["loss"] for row in curve), default=math.nan),
    "auc": sum(accuracy) / planned,
    "auc_loss": sum(row["loss"] for row in curve) / len(curve) if len(curve) == planned else math.nan,
    "half_accuracy": accuracy[(planned - 1) // 2],
    "t90": float(t90),
    "t90_restricted": float(min(t90, planned * every)),
    "grad_norm_max": max((row["grad_norm_max"] for row in curve), default=math.nan),
  }
