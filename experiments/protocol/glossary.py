"""What each measure is called where a figure stands, its unit, and what it is.

The loop measures these of every run, a task's judge and the probes add theirs; `scales` says between which bounds they
lie. Nothing here imports jax.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.protocol.claim import All, Bound, Contrast, Equivalent, Moderated, Test


class Entry(NamedTuple):
  """One measure: its name where a figure stands (with the unit, if it has one), and what it is."""

  label: str
  unit: str
  definition: str


MEASURES: Mapping[str, Entry] = {
  "accuracy": Entry("accuracy at the end", "share", "share of right predictions at the last evaluation"),
  "auc": Entry(
    "accuracy, mean over training", "share", "mean accuracy over all evaluations; 0 for those not lived to see"
  ),
  "half_accuracy": Entry("accuracy halfway", "share", "accuracy at the evaluation in the middle of training"),
  "loss": Entry(
    "cross-entropy in nats, at the end", "nats", "mean cross-entropy per prediction at the last evaluation"
  ),
  "auc_loss": Entry("cross-entropy in nats, mean over training", "nats", "mean cross-entropy over all evaluations"),
  "best_loss": Entry("cross-entropy in nats, at its best", "nats", "lowest cross-entropy of any evaluation"),
  "initial_loss": Entry("cross-entropy in nats, before training", "nats", "cross-entropy of the untrained model"),
  "train_loss": Entry(
    "cross-entropy in nats, training batches", "nats", "loss on the training batches up to the last evaluation"
  ),
  "grad_norm": Entry("gradient norm", "norm", "global norm of the gradient before clipping, at the end of training"),
  "grad_norm_max": Entry("largest gradient norm", "norm", "largest global norm of the gradient before clipping"),
  "t90": Entry("steps to 90 % accuracy", "steps", "first step from which two evaluations reach 90 %; inf when never"),
  "t90_restricted": Entry(
    "steps to 90 % accuracy", "steps", "as t90, with the number of steps of the run in place of inf"
  ),
  "wer": Entry("word error rate", "share", "share of decoded words that are not right"),
  "per": Entry(
    "phoneme error rate", "share", "edits per phoneme that decoded words need; above 1 with many insertions"
  ),
  "words": Entry("decoded words", "words", "number of words that were decoded and judged"),
}
WINDOW = Entry(
  "mean over the window of rates", "", "the study's metric, mean over the same learning rates for all arms"
)
SLICE = Entry("accuracy on {}", "share", "accuracy at the last evaluation on one slice of the task's difficulty")
BESIDE = {  # what stands beside a metric: the end beside the mean over training, and the other way round
  "auc": "accuracy",
  "accuracy": "auc",
  "loss": "auc_loss",
  "auc_loss": "loss",
  "best_loss": "loss",
  "t90_restricted": "accuracy",
  "wer": "loss",
  "per": "loss",
}


def label(measure: str, metric: str = "") -> str:
  """What a figure of this measure is of; `metric` is the study's, for "window"."""
  if measure == "window":
    return f"{label(metric)}, {WINDOW.label}" if metric else WINDOW.label
  if measure.startswith("accuracy/"):
    return SLICE.label.format(measure.removeprefix("accuracy/"))
  if measure.startswith("probe.") and measure.count(".") >= 2:
    _, probe, key = measure.split(".", 2)
    return f"{key.replace('_', ' ')} (probe {probe.replace('_', ' ')})"
  return MEASURES[measure].label if measure in MEASURES else measure


def tested(test: Test, metric: str) -> dict[str, dict[str, str]]:
  """By the name of each line of a test: its `measure` ("" where the name says it), `what` it compares, `needed`.

  `metric` is the study's, whose measure a sample without another one has; "" for samples of checks and benches.
  """
  return {line: said for part in _parts(test) for line, said in [_said(part, metric)]}


def _parts(test: Test) -> Iterable[Bound | Contrast]:
  match test:
    case Equivalent():
      return [test.contrast, test.worse]
    case All():
      return [one for part in test.parts for one in _parts(part)]
    case Moderated():
      cells = [one for cell in test.cells.values() for one in _parts(cell)]
      return cells + ([test.interaction] if test.interaction else [])
    case _:
      return [test]


def _said(part: Bound | Contrast, metric: str) -> tuple[str, dict[str, str]]:
  if isinstance(part, Bound):
    said = _split(part.sample, metric)
    return line_of(part), {"measure": said[1], "what": said[0], "needed": _range(part)}
  pairs = [_split(sample, metric) for sample in part.weights]
  what = part.name
  for measure in sorted({sample.partition(":")[2] for sample in part.weights} - {""}, key=len, reverse=True):
    what = what.replace(f":{measure}", "") if metric else what
  measures = " and ".join(dict.fromkeys(measure for _, measure in pairs if measure))
  return part.name, {"measure": measures, "what": what, "needed": ""}


def _split(sample: str, metric: str) -> tuple[str, str]:
  """Arm and the label of its measure; a sample of a check is no arm, and its name says all."""
  if not metric:
    return sample, ""
  arm, _, measure = sample.partition(":")
  return arm, label(measure or metric, metric)


def line_of(part: Bound) -> str:
  """The name of the line that `assess` makes of a bound."""
  return f"{part.sample} in [{part.low:g}, {part.high:g}]"


def _range(part: Bound) -> str:
  low, high = part.low, part.high
  if low == high:
    return f"{low:g}"
  if low == -float("inf"):
    return f"≤ {high:g}"
  return f"≥ {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
