"""One declared test against its samples: figures, and whether the truth lies above, below, or on neither side.

Above: the lower bound exceeds the minimum effect. Below: the upper bound stays under it. Both bounds are one-sided at
the row's level, so a test sitting exactly on its minimum effect is called above or below with that probability each.
A conjunction is below as soon as one part is: with k parts on their boundaries that happens at up to k times the level.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.protocol import stats
from experiments.protocol.claim import All, Bound, Contrast, Equivalent, Moderated, Test

Samples = Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class TestResult:
  """One line of a row's `tests`.

  `effect`: mean of the per-unit sums, or for a Bound the largest distance outside its range. `ci`: 95 % interval (for a
  Bound the smallest and largest value). `bound`: one-sided lower and upper bound, each at alpha. `detectable`: minimum
  detectable effect at 80 % power. `role`: "primary", "sensitivity" (must fail for an equality to count) or
  "interaction". `problem` says why a test has no figures.
  """

  __test__ = False  # not a test case, whatever pytest makes of the name

  name: str
  rule: str
  n: int
  effect: float
  ci: tuple[float, float]
  ci_level: float
  p: float | None
  alpha: float | None
  minimum_effect: float | None
  passed: bool
  bound: tuple[float, float]
  outcome: str
  cell: str | None = None
  role: str = "primary"
  detectable: float | None = None
  problem: str | None = None


@dataclasses.dataclass(frozen=True)
class Assessment:
  """The outcome of a whole test ("above", "below", "conditional", "unclear"), its lines, and what decided it.

  `decisive` holds indices into `results`; `condition` is the sentence of a conditional outcome; `note` says what the
  figures alone do not: an insensitive equality, a missing interaction.
  """

  outcome: str
  results: tuple[TestResult, ...]
  decisive: tuple[int, ...]
  condition: str | None = None
  note: str | None = None


def assess(test: Test, samples: Samples, alpha: float) -> Assessment:
  """Judge a test at the one-sided level alpha. Raises KeyError for a sample that is not there."""
  if isinstance(test, Bound):
    result = _bound(test, samples)
    return Assessment(result.outcome, (result,), (0,))
  if isinstance(test, Contrast):
    result = contrast(test, samples, alpha)
    return Assessment(result.outcome, (result,), (0,))
  if isinstance(test, Equivalent):
    return _equivalent(test, samples, alpha)
  if isinstance(test, All):
    return _all(test, samples, alpha)
  if isinstance(test, Moderated):
    return _moderated(test, samples, alpha)
  raise TypeError(f"{type(test).__name__} is no test of experiments.protocol.claim")


def sums(test: Contrast, samples: Samples) -> list[float]:
  """The weighted sum of the samples, one per unit; an infinity less an infinity is NaN."""
  columns = [_sample(samples, name) for name in test.weights]
  lengths = {len(column) for column in columns}
  if len(lengths) > 1:
    raise ValueError(f"{test.name}: samples of {sorted(lengths)} values cannot be paired")
  with np.errstate(invalid="ignore"):
    products = [w * np.asarray(c, float) for w, c in zip(test.weights.values(), columns, strict=True) if w]
    return [float(total) for total in np.sum(products, axis=0)] if products else [0.0] * lengths.pop()


def contrast(test: Contrast, samples: Samples, alpha: float) -> TestResult:
  """Rule PERM, or T where n is too small for the sign-flip test to reject at alpha."""
  values = sums(test, samples)
  n = len(values)
  problem = _problem(values)
  if problem:
    return _empty(test.name, "PERM", n, alpha, test.above, problem)
  low, high, method = stats.interval(values, alpha)
  ci = stats.interval(values, 0.025)
  slack = _slack(test, samples)
  signed = method.endswith("sign-flip")
  p = stats.sign_flip(values, test.above, slack) if signed else stats.t_test(values, test.above)
  above, below = low > test.above + slack, high < test.above - slack
  return TestResult(
    name=test.name,
    rule="PERM" if signed else "T",
    n=n,
    effect=float(np.mean(values)),
    ci=ci[:2],
    ci_level=0.95,
    p=p,
    alpha=alpha,
    minimum_effect=test.above,
    passed=above,
    bound=(low, high),
    outcome="above" if above else "below" if below else "unclear",
    detectable=_detectable(values, alpha),
    problem=f"{n} values are too few, or too alike, to tell their spread" if method == "none" else None,
  )


def _bound(test: Bound, samples: Samples) -> TestResult:
  values = _sample(samples, test.sample)
  name, n = f"{test.sample} in [{test.low:g}, {test.high:g}]", len(values)
  problem = "no values" if not n else "NaN among the values" if np.isnan(values).any() else None
  if problem:
    return dataclasses.replace(_empty(name, "EXACT", n, 0.0, 0.0, problem), alpha=None, minimum_effect=None)
  worst = max(max(test.low - x, x - test.high, 0.0) for x in values)
  inside = all(test.low <= x <= test.high for x in values)
  span = (float(min(values)), float(max(values)))
  outcome = "above" if inside else "below"
  return TestResult(name, "EXACT", n, float(worst), span, 1.0, None, None, None, inside, span, outcome)


def _equivalent(test: Equivalent, samples: Samples, alpha: float) -> Assessment:
  """Two one-sided tests; the known difference must stick out of the margin, or equality means nothing."""
  margin = test.margin
  ours, worse = (_within(part, margin, samples, alpha) for part in (test.contrast, test.worse))
  sensitive = not worse.passed and worse.problem is None
  worse = dataclasses.replace(worse, passed=sensitive, role="sensitivity")
  if ours.outcome == "above" and not sensitive:
    note = f"the known difference {test.worse.name} was not told apart from equality either"
    return Assessment("unclear", (dataclasses.replace(ours, passed=False, outcome="unclear"), worse), (1,), note=note)
  return Assessment(ours.outcome, (ours, worse), (0,))


def _within(test: Contrast, margin: float, samples: Samples, alpha: float) -> TestResult:
  upper = contrast(dataclasses.replace(test, above=-margin), samples, alpha)
  if upper.problem:
    return dataclasses.replace(upper, rule="TOST", minimum_effect=margin, passed=False, outcome="unclear")
  opposite = Contrast(test.name, {name: -weight for name, weight in test.weights.items()}, -margin)
  lower = contrast(opposite, samples, alpha)
  slack = _slack(dataclasses.replace(test, above=margin), samples)
  inside = upper.passed and lower.passed
  outside = upper.bound[0] > margin + slack or upper.bound[1] < -margin - slack
  return dataclasses.replace(
    upper,
    rule="TOST",
    p=max(upper.p or 0.0, lower.p or 0.0),
    minimum_effect=margin,
    passed=inside,
    outcome="above" if inside else "below" if outside else "unclear",
  )


def _all(test: All, samples: Samples, alpha: float) -> Assessment:
  parts = [assess(part, samples, alpha) for part in test.parts]
  outcomes = [part.outcome for part in parts]
  outcome = next((o for o in ("below", "unclear", "conditional") if o in outcomes), "above")
  results, decisive, start = [], [], 0
  for part in parts:
    if part.outcome == outcome:
      decisive += [start + index for index in part.decisive]
    results += part.results
    start += len(part.results)
  chosen = [part for part in parts if part.outcome == outcome]
  condition = "; ".join(part.condition for part in chosen if part.condition)
  note = "; ".join(part.note for part in chosen if part.note)
  return Assessment(outcome, tuple(results), tuple(decisive), condition or None, note or None)


def _moderated(test: Moderated, samples: Samples, alpha: float) -> Assessment:
  if len(test.cells) != 2:
    raise ValueError(f"{test.moderator}: a moderator has two cells, not {len(test.cells)}")
  cells = {name: assess(cell, samples, alpha) for name, cell in test.cells.items()}
  results = [dataclasses.replace(r, cell=name) for name, cell in cells.items() for r in cell.results]
  first = len(next(iter(cells.values())).results)
  decisive = [start + i for start, cell in zip((0, first), cells.values(), strict=True) for i in cell.decisive]
  if test.interaction:
    results.append(dataclasses.replace(contrast(test.interaction, samples, alpha), role="interaction"))
  outcomes = {cell.outcome for cell in cells.values()}
  if outcomes in ({"above"}, {"below"}):
    return Assessment(outcomes.pop(), tuple(results), tuple(decisive))
  if outcomes != {"above", "below"}:
    unclear = ", ".join(name for name, cell in cells.items() if cell.outcome == "unclear")
    note = f"the cell {unclear} of {test.moderator} is open" if unclear else None
    return Assessment("unclear", tuple(results), tuple(decisive), note=note)
  if test.interaction:
    decisive.append(len(results) - 1)
    differ, doubt = results[-1].passed, "the interaction test does not pass"
  else:
    differ, doubt = all(r.rule == "EXACT" for r in results), "no interaction test was declared"
  if not differ:
    note = f"the cells of {test.moderator} point in opposite directions, but {doubt}"
    return Assessment("unclear", tuple(results), tuple(decisive), note=note)
  holds, fails = sorted(cells, key=lambda name: cells[name].outcome)
  condition = f"{test.moderator}: holds for {holds}, fails for {fails}"
  return Assessment("conditional", tuple(results), tuple(decisive), condition)


def _sample(samples: Samples, name: str) -> Sequence[float]:
  if name not in samples:
    raise KeyError(f"no sample {name!r} among {sorted(samples)}")
  return samples[name]


def _problem(values: Sequence[float]) -> str | None:
  if not len(values):
    return "no values"
  if np.isnan(values).any():
    return "NaN among the paired sums"
  if np.isposinf(values).any() and np.isneginf(values).any():
    return "infinities of both signs among the paired sums"
  return None


def _empty(name: str, rule: str, n: int, alpha: float, minimum: float, problem: str) -> TestResult:
  line, nan = (-math.inf, math.inf), math.nan
  return TestResult(name, rule, n, nan, line, 0.95, None, alpha, minimum, False, line, "unclear", problem=problem)


def _slack(test: Contrast, samples: Samples) -> float:
  """Rounding of the sums, taken from the size of what was added up: 1.1 - 1.0 does not exceed 0.1."""
  with np.errstate(invalid="ignore"):
    sizes = np.abs([w * np.asarray(samples[name], float) for name, w in test.weights.items()])
  finite = sizes[np.isfinite(sizes)]
  return stats.RELATIVE * max(float(finite.max()) if finite.size else 0.0, abs(test.above))


def _detectable(values: Sequence[float], alpha: float) -> float:
  finite = len(values) > 1 and bool(np.isfinite(values).all())
  return stats.minimum_detectable_effect(float(np.std(values, ddof=1)) if finite else math.inf, len(values), alpha)
