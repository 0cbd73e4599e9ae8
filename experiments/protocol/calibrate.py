"""How often the protocol is wrong, and how often it finds what is there: comparisons whose truth is known.

A thousand comparisons of two equal arms: each direction may be found in as many as chance allows at the row's level
(the smallest number that a fair test stays within with probability .975). Then twins with a handicap of 1, 1.2 and 1.66
standard deviations of the paired differences: the share found is the power. How handicapped a twin must be is read off
a pilot on comparisons of its own.
"""

import datetime
import itertools
import math
from collections.abc import Sequence
from typing import Any

from experiments.protocol import calibration, calls, looks
from experiments.protocol.claim import Bound, Check
from experiments.record import stamp
from experiments.run.runner import Runner

FUNCTION, BLOCK = "known_arms.comparisons", 25  # comparisons that a worker makes at a time
EQUAL, FURTHER = 1000, 10_000  # comparisons of equal arms have these numbers below, and from there on beyond
EFFECTS = (1.0, 1.2, 1.66)  # in standard deviations of the paired differences
PILOT, FACTORS = 50, (2.0, 3.0, 4.0, 6.0, 9.0)  # comparisons for each handicap, and the handicaps tried
SURE = 0.975  # with which chance alone stays within what is allowed
LEVEL, REPORTING = 0.05, 12  # as the comparisons have them
Samples = dict[str, list[float]]


def run(count: int, runner: Runner) -> calibration.Document:
  """Pilot, comparisons of equal arms, and a third as many with each handicap, 334 at most.

  What is stored is not run again: more comparisons go on where fewer have ended.
  """
  each = math.ceil(min(count, EQUAL) / 3)
  pilot = [range(EQUAL + i * PILOT, EQUAL + (i + 1) * PILOT) for i in range(len(FACTORS))]
  further = range(FURTHER, FURTHER + max(count - EQUAL, 0))
  *tried, null, more = _made(
    [*zip(pilot, FACTORS, strict=True), (range(min(count, EQUAL)), 1.0), (further, 1.0)], runner
  )
  null = _joined([null, more])
  sizes = [_size(samples) for samples in tried]
  start, power = pilot[-1].stop, []
  for target in EFFECTS:
    times = _times(target, sizes)
    samples = _made([(range(start, start + each), times)], runner)[0]
    power.append({"target": target, "times": times, "effect": _size(samples), **_shares(samples)})
    start += each
  return _document(null, power, list(zip(FACTORS, sizes, strict=True)), runner)


def _made(wanted: Sequence[tuple[range, float]], runner: Runner) -> list[Samples]:
  """The comparisons of each range with a twin of that factor, made in blocks."""
  blocks = [
    [Check(_call(start, min(BLOCK, numbers.stop - start), times), Bound("above")) for start in numbers[::BLOCK]]
    for numbers, times in wanted
  ]
  samples = calls.run([block for part in blocks for block in part], runner)
  return [_joined([samples[block.run] for block in part]) for part in blocks]


def _call(first: int, count: int, times: float) -> str:
  return f"{FUNCTION}(first={first}, count={count}, times={times!r})"


def _joined(parts: Sequence[Samples]) -> Samples:
  """One after the other; a part without comparisons has no samples."""
  parts = [part for part in parts if part]
  return {name: [value for part in parts for value in part[name]] for name in (parts[0] if parts else ())}


def _size(samples: Samples) -> float:
  """Mean difference in pooled standard deviations of the differences."""
  spread = math.sqrt(math.fsum(value**2 for value in samples["spread"]) / len(samples["spread"]))
  return math.fsum(samples["effect"]) / len(samples["effect"]) / spread


def _times(target: float, sizes: Sequence[float]) -> float:
  """The factor whose twin differs by `target`: read off the pilot, linear in the factor's logarithm."""
  points = [(0.0, 0.0), *((math.log(factor), size) for factor, size in zip(FACTORS, sizes, strict=True))]
  for (x, low), (y, high) in itertools.pairwise(points):
    if low <= target <= high:
      return round(math.exp(x + (y - x) * (target - low) / (high - low)), 4)
  return FACTORS[-1]  # beyond the pilot: what came of it is told beside what was asked for


def _shares(samples: Samples) -> dict[str, Any]:
  """Comparisons, and of these: found above and below, and above by each look."""
  above, number = samples["above"], samples["look"]
  by_look = [sum(a for a, n in zip(above, number, strict=True) if n <= look) for look in range(1, looks.MOST + 1)]
  counted = {"comparisons": len(above), "above": int(sum(above)), "below": int(sum(samples["below"]))}
  return counted | {"above_by_look": [int(value) for value in by_look]}


def allowed(count: int, level: float = LEVEL) -> int:
  """How many of `count` fair tests at `level` reject, at most, with probability SURE."""
  from scipy import special

  return next(hits for hits in range(count + 1) if special.bdtr(hits, count, level) >= SURE)


def _document(
  null: Samples, power: list[calibration.Document], pilot: list[tuple[float, float]], runner: Runner
) -> calibration.Document:
  shares, most = _shares(null), allowed(len(null["above"]))
  return {
    "schema": 1,
    "level": LEVEL,
    "looks": [look.n for look in looks.schedule(REPORTING, LEVEL)],
    "null": {**shares, "allowed": most, "one_rate": math.fsum(null["one_rate"]) / len(null["one_rate"])},
    "passed": max(shares["above"], shares["below"]) <= most,
    "power": power,
    "pilot": [{"times": times, "effect": effect} for times, effect in pilot],
    "code_sha256": calibration.rules(),
    "versions": stamp.versions(),
    "run": {"date": datetime.date.today().isoformat(), "device_name": runner.backend.get("device_name", "")},
  }
