"""How many of a trained model's heads can go: greedy pruning without retraining (Michel et al. 2019).

The next head to go is chosen on one set of batches, the accuracy of what is left is measured on another.
"""

import math
from collections.abc import Iterable

import numpy as np

from experiments.probes import recording
from experiments.probes.subject import Subject

CHOOSING, SCORING = range(2), range(2, 6)
SPARE = 0.02  # accuracy that may be lost before a head counts as needed
KEYS = (
  "full",
  "half",
  "one",
  "none",
  "drop_half",
  "needed",
  "needed_share",
  "drop_one/*",
)  # "/*": one number per place of attention


def read(subject: Subject) -> dict[str, float]:
  """Accuracies of the whole model's heads, pruned over all places at once.

  full: no head pruned. half: half of the heads left (rounded up); one: a single head left in the whole model; none:
  attention says nothing. drop_half = full - half. needed: the smallest number of heads that stays within SPARE of
  full, and needed_share of all heads. drop_one/<place>: accuracy lost when that place keeps its best head only.
  """
  heads = recording.count(subject.model)
  curve, places = _curve(subject, heads)
  total = len(curve) - 1
  half = math.ceil(total / 2)
  needed = min(kept for kept in range(total + 1) if min(curve[kept:]) >= curve[total] - SPARE)
  numbers = {"full": curve[total], "half": curve[half], "one": curve[1], "none": curve[0]}
  numbers |= {"drop_half": curve[total] - curve[half], "needed": needed, "needed_share": needed / total}
  return numbers | {f"drop_one/{name}": curve[total] - value for name, value in places.items()}


def _curve(subject: Subject, heads: dict[str, int]) -> tuple[list[float], dict[str, float]]:
  """Accuracy by number of heads left, 0 to all; and with one head left at each place, the others whole."""
  total = sum(heads.values())
  left_H = np.ones(total)
  steps = [left_H]
  while left_H.any():
    found_H = _score(subject, heads, CHOOSING, left_H * (1 - np.eye(total)))
    left_H = left_H * (np.arange(total) != np.where(left_H > 0, found_H, -np.inf).argmax())
    steps.append(left_H)
  alone = {name: _best_alone(subject, heads, name) for name in heads if heads[name] > 1}
  scores = _score(subject, heads, SCORING, np.array([*steps, *alone.values()])).tolist()
  return scores[total::-1], dict(zip(alone, scores[total + 1 :], strict=True))


def _best_alone(subject: Subject, heads: dict[str, int], name: str) -> np.ndarray:
  """All heads of the other places and the one head of this place that does best without its neighbors."""
  inside_H = np.concatenate([np.full(number, place == name) for place, number in heads.items()])
  candidates_HH = (~inside_H | np.eye(len(inside_H), dtype=bool)).astype(float)
  found_H = _score(subject, heads, CHOOSING, candidates_HH)
  return candidates_HH[np.where(inside_H, found_H, -np.inf).argmax()]


def _score(subject: Subject, heads: dict[str, int], batches: Iterable[int], kept_NH: np.ndarray) -> np.ndarray:
  """Mean accuracy of each choice of heads, (N,).

  Choices go in groups of one more than there are heads, so that one compiled function serves all rounds.
  """
  graph, state = recording.split(subject.model)
  size = kept_NH.shape[1] + 1
  groups = -(-len(kept_NH) // size)
  filled_NH = np.concatenate([kept_NH, np.ones((groups * size - len(kept_NH), size - 1))])
  parts = [recording.by_place(part_NH, heads) for part_NH in np.split(filled_NH, groups)]
  found = [
    np.mean([recording.accuracies(graph, state, part, subject.batch(number)) for number in batches], axis=(0, 2))
    for part in parts
  ]
  return np.concatenate(found)[: len(kept_NH)]
