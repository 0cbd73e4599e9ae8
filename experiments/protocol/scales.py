"""What the numbers of a run are: their names by config, which way is better, between which bounds they lie.

The loop gives the same numbers for every run, a task adds those of its slices and of its judge, a probe its own. All of
it is read from the source, so that a name nobody measures is refused before anything runs. Nothing here imports jax.
"""

import ast
import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from configs import slots
from model.errors import Refused

WAYS = ("max", "min")
PROBES = Path(__file__).resolve().parents[1] / "probes"
PLACE = re.compile(r"/(encoder|decoder)/\d+(/self|/cross)?")  # names of places of attention: "/decoder/1/cross"


class Scale(NamedTuple):
  """`better`: "max", "min", or "" where neither is. `worst`: what a run without a finite number counts as.

  `worst` is a number, another measure of the same run, or None where nothing can stand for it.
  """

  better: str = ""
  low: float = -math.inf
  high: float = math.inf
  worst: float | str | None = None


SHARE = Scale("max", 0.0, 1.0, 0.0)
LOSS = Scale("min", 0.0, math.inf, "initial_loss")
SIZE = Scale("", 0.0)
LOOP = {  # what train.metrics.summary tells of every run
  "loss": LOSS,
  "accuracy": SHARE,
  "train_loss": LOSS,
  "grad_norm": SIZE,
  "grad_norm_max": SIZE,
  "initial_loss": LOSS._replace(better="", worst=None),
  "best_loss": LOSS,
  "auc": SHARE,
  "auc_loss": LOSS,
  "half_accuracy": SHARE,
  "t90": Scale("min", 0.0, math.inf, "t90_restricted"),
  "t90_restricted": Scale("min", 0.0),
}
SLICE = "accuracy/"
OF_A_SLICE = SHARE._replace(worst=None)  # not finite where the slice had no example, which says nothing of the model
ERROR_RATE = Scale("min", 0.0, math.inf, 1.0)  # above 1 with insertions; saying nothing is wrong once per word or phone
JUDGED = {"wer": ERROR_RATE, "per": ERROR_RATE, "words": SIZE}


def scale(config: Mapping[str, Any], name: str) -> Scale:
  """The scale of a measure; of one that nobody describes, the whole line without a direction."""
  if name.startswith(SLICE):
    return OF_A_SLICE
  return LOOP.get(name) or judged(config).get(name) or Scale()


def judged(config: Mapping[str, Any]) -> dict[str, Scale]:
  """What the task's `judge` measures, as its class says: judged = {"wer": "min"}, or a tuple of names alone."""
  kind = config["task"]["kind"]
  given = slots.stated("tasks", kind, "judged") or ()
  ways = given if isinstance(given, Mapping) else dict.fromkeys(given, "") if isinstance(given, tuple | list) else None
  if ways is None or not all(_names_a_measure(name, way) for name, way in ways.items()):
    raise Refused(
      f'task.kind={kind} states judged = {given!r}; allowed: names that the loop has not, each with "max", "min" or ""'
      ' for neither, such as {"wer": "min"}'
    )
  for name, way in ways.items():
    if name in JUDGED and way not in ("", JUDGED[name].better):
      raise Refused(f"task.kind={kind} states {name} as {way!r}, it is {JUDGED[name].better!r}; give it another name")
  return {name: JUDGED.get(name) or Scale(better=way) for name, way in ways.items()}


def stand_in(measures: Mapping[str, float], name: str) -> float:
  """What a run counts as whose measure is not finite; NaN where nothing can stand for it."""
  worst = (OF_A_SLICE if name.startswith(SLICE) else LOOP.get(name) or JUDGED.get(name) or Scale()).worst
  if isinstance(worst, str):
    return measures.get(worst, math.nan)
  return math.nan if worst is None else worst


def decoded(name: str) -> bool:
  """Whether only a task's judge can have measured this: a run that diverged is not decoded."""
  return name not in LOOP and not name.startswith((SLICE, "probe."))


def _names_a_measure(name: object, way: object) -> bool:
  own = isinstance(name, str) and name not in LOOP and not name.startswith((SLICE, "probe.")) and name != "window"
  return own and ":" not in str(name) and way in ("", *WAYS)


def slices(config: Mapping[str, Any]) -> tuple[str, ...] | None:
  """The task's slices; None where its source does not state them in plain terms."""
  options = {name: value for name, value in config["task"].items() if name != "kind"}
  found = slots.stated("tasks", config["task"]["kind"], "slices", options)
  return tuple(map(str, found)) if isinstance(found, tuple | list) else None


def needs(config: Mapping[str, Any], metric: str) -> tuple[bool, tuple[str, ...]]:
  """(whether the judge must decode, the probes that must read) so that a trial has this measure."""
  if metric.startswith("probe."):
    return False, (metric.split(".")[1],)
  return metric in judged(config), ()


def names(config: Mapping[str, Any]) -> list[str]:
  """Every measure that a trial of this resolved config will have; "accuracy/*" where the slices cannot be read."""
  of_slices = slices(config)
  found = [*LOOP, *(f"{SLICE}{name}" for name in (("*",) if of_slices is None else of_slices))]
  found += judged(config) if config["eval"]["judge"] else ()
  return found + [f"probe.{probe}.{key}" for probe in config["probes"] for key in keys(probe)]


def has(config: Mapping[str, Any], name: str) -> bool:
  """Whether a trial of this config will have the measure."""
  known = names(config)
  if name in known:
    return True
  if name.startswith(SLICE):
    return f"{SLICE}*" in known
  place = PLACE.search(name) if name.startswith("probe.") else None
  return place is not None and place.end() == len(name) and f"{name[: place.start()]}/*" in known


def probes() -> list[str]:
  """Names of the files of experiments/probes that read something."""
  return sorted(file.stem for file in PROBES.glob("*.py") if _keys(file, file.stat().st_mtime_ns))


def keys(probe: str) -> tuple[str, ...]:
  """What a probe reads, by the literal KEYS of its file; "entropy/*" has one number per place of attention.

  Raises Refused for a probe that is not there or declares nothing.
  """
  path = slots.existing(PROBES / f"{probe}.py") if probe.isidentifier() else None
  found = _keys(path, path.stat().st_mtime_ns) if path else None
  if found is None:
    known = probes()
    fault = "declares no KEYS" if path else "is not there"
    raise Refused(f"probe {probe!r} {fault}: {slots.suggestion(probe, known)}allowed: {', '.join(known)}")
  return found


@functools.lru_cache(maxsize=64)
def _keys(path: Path, changed: int) -> tuple[str, ...] | None:
  """KEYS of a file, None where it states none."""
  del changed  # only part of the cache's key
  for node in ast.parse(path.read_text(encoding="utf-8")).body:
    if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["KEYS"]:
      return tuple(ast.literal_eval(node.value))
  return None
