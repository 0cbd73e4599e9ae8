"""Does each head serve one relation? I(H; R) / log min(H, R) of attention, and what is lost when a head is silenced.

A double dissociation (Teuber 1955): silencing a head harms the relation that it looks at, and no other.
"""

import math
from functools import partial

import jax
import numpy as np
from flax import nnx

from experiments.probes import recording
from experiments.probes.subject import Subject

NAMING, SCORING = range(4), range(4, 8)  # batches that name each head's relation, and batches that are scored
KEYS = ("information", "information_untrained", "own_drop", "other_drop")


def read(subject: Subject) -> dict[str, float]:
  """Means over layers and heads.

  information: 0 = heads look alike at all relations, 1 = each looks at one and all are served; "_untrained" before
  the first step. own_drop: accuracy lost in the relation that the silenced head attends to most (found on other
  batches); other_drop: mean loss in the other relations. With one head or one relation nothing can specialize: 0.
  """
  recording.need_recall(subject, "mutual_information")
  mass = _masses(subject, subject.model, NAMING)
  numbers = {
    "information": _mean(information(mass_HR) for mass_HR in _masses(subject, subject.model, SCORING).values()),
    "information_untrained": _mean(
      information(mass_HR) for mass_HR in _masses(subject, subject.untrained, SCORING).values()
    ),
  }
  lost = _losses(subject)
  drops = [dissociation(lost[name], mass_HR.argmax(1)) for name, mass_HR in mass.items()]
  return numbers | {"own_drop": _mean(own for own, _ in drops), "other_drop": _mean(other for _, other in drops)}


def information(mass_HR: np.ndarray) -> float:
  """Mutual information of head and relation as a share of its maximum; every head counts the same.

  p(h, r) = mass(h, r) / (H sum_r mass(h, r)).
  """
  heads, relations = mass_HR.shape
  if min(heads, relations) < 2:
    return 0.0
  joint_HR = mass_HR / np.maximum(mass_HR.sum(1, keepdims=True), 1e-30) / heads
  independent_HR = joint_HR.sum(1, keepdims=True) * joint_HR.sum(0, keepdims=True)
  ratio_HR = joint_HR / np.maximum(independent_HR, 1e-30)
  nats = float((joint_HR * np.log(np.where(joint_HR > 0, ratio_HR, 1.0))).sum())
  return max(nats, 0.0) / math.log(min(heads, relations))


def dissociation(lost_HR: np.ndarray, own_H: np.ndarray) -> tuple[float, float]:
  """Mean loss in each head's own relation, and in the others (0 where there are none)."""
  own_HR = np.arange(lost_HR.shape[1]) == own_H[:, None]
  return float(lost_HR[own_HR].mean()), float(lost_HR[~own_HR].mean()) if lost_HR.shape[1] > 1 else 0.0


def _masses(subject: Subject, model: nnx.Module, batches) -> dict[str, np.ndarray]:
  graph, state = recording.split(model)
  parts = [jax.device_get(_mass(graph, state, subject.batch(number))) for number in batches]
  return {name: np.mean([part[name] for part in parts], axis=0) for name in recording.places(model)}


@partial(jax.jit, static_argnums=0)
def _mass(graph, state, batch) -> dict[str, jax.Array]:
  """Attention of heads on slots where all slots of a query ask for different tokens: no token stands for two."""
  _, layers = recording.record(nnx.merge(graph, state), batch.inputs)
  asked_BRTS = recording.asked(batch)
  distinct_BT = asked_BRTS.sum(1).max(-1) <= 1
  asked_BRTS &= distinct_BT[:, None, :, None]
  return {name: recording.slot_mass(layer.weights_BHTS, asked_BRTS) for name, layer in layers.items()}


def _losses(subject: Subject) -> dict[str, np.ndarray]:
  """Accuracy lost per silenced head and relation (H, R), by place."""
  heads = recording.count(subject.model)
  total = sum(heads.values())
  kept_NH = np.concatenate([np.ones((1, total)), 1 - np.eye(total)])
  graph, state = recording.split(subject.model)
  kept_N = recording.by_place(kept_NH, heads)
  right_NR = np.mean([recording.accuracies(graph, state, kept_N, subject.batch(number)) for number in SCORING], axis=0)
  lost_NR = right_NR[0] - right_NR[1:]
  return dict(zip(heads, np.split(lost_NR, np.cumsum(list(heads.values()))[:-1]), strict=True))


def _mean(values) -> float:
  values = list(values)
  return sum(values) / len(values)
