"""Numbers about a few paired values: sign-flip test, its inverted interval, t intervals, power, censored times.

Hartigan (1969): under symmetry the means of the non-empty subsets of n values cut the line into 2^n equally likely
pieces, so P(mean > k-th smallest subset mean) = 1 - k / 2^n, and that cut is the sign-flip test turned inside out.
The test is exact for differences that are symmetric about their mean. Under skew it is approximate: the bound on the
side of the long tail is missed more often than stated (the measured rates stand in
tests/experiments/protocol/test_stats.py).
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

ENUMERATED = 16  # up to here all 2^n sign patterns; beyond, a seeded sample of as many
RELATIVE = 1e-12  # two numbers closer than this share of their size are taken for equal


class Interval(NamedTuple):
  """Bounds, each at the asked one-sided level; `method` is "sign-flip", "sampled sign-flip", "t" or "none".

  "t within [0, 1]" is Student's interval cut to what the mean can be at all (`within`).
  """

  low: float
  high: float
  method: str


@functools.lru_cache(maxsize=4)
def _subsets(n: int) -> tuple[np.ndarray, np.ndarray]:
  """(patterns, n) of 0 and 1: every non-empty subset, or beyond ENUMERATED as many drawn ones; and their sizes."""
  if n <= ENUMERATED:
    chosen_Pn = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(float)
  else:
    chosen_Pn = (np.random.default_rng(n).random((2**ENUMERATED - 1, n)) < 0.5).astype(float)
  return chosen_Pn, chosen_Pn.sum(1)


def subset_means(values: Sequence[float]) -> np.ndarray:
  """Ascending means of the subsets of `values` (infinities of one sign allowed; an empty drawn subset is -inf)."""
  return _subset_means(tuple(float(x) for x in values))


@functools.lru_cache(maxsize=256)
def _subset_means(values: tuple[float, ...]) -> np.ndarray:
  values_n = np.array(values)
  chosen_Pn, count_P = _subsets(len(values))
  finite_n = np.isfinite(values_n)
  mean_P = chosen_Pn @ np.where(finite_n, values_n, 0.0) / np.maximum(count_P, 1)
  mean_P = np.clip(mean_P, values_n.min(), values_n.max())  # equal values have one mean, whatever the rounding
  if not finite_n.all():
    mean_P = np.where(chosen_Pn[:, ~finite_n].any(1), values_n[~finite_n][0], mean_P)
  mean_P = np.sort(np.where(count_P > 0, mean_P, -np.inf))
  mean_P.flags.writeable = False  # shared by the cache
  return mean_P


def _slack(values: Sequence[float], above: float) -> float:
  sizes = [abs(x) for x in (*values, above) if math.isfinite(x)]
  return RELATIVE * max(sizes, default=0.0)


def sign_flip(values: Sequence[float], above: float = 0.0, slack: float | None = None) -> float:
  """One-sided p of "the mean exceeds `above`": the share of sign patterns of (values - above) with as large a mean.

  Exact for n <= 16. Beyond, 2^16 - 1 seeded patterns plus the observed one, which keeps the test valid. A subset mean
  within `slack` of `above` counts as reached.
  """
  _on_the_line(values)
  means = subset_means(values)
  slack = _slack(values, above) if slack is None else slack
  return float(1 + np.searchsorted(means, above + slack, "right")) / (len(means) + 1)


def interval(values: Sequence[float], level: float) -> Interval:
  """The values of the mean that the one-sided sign-flip tests at `level` cannot reject, on each side.

  `level` .025 gives the two-sided 95 % interval. Where 2^-n > level the exact test can never reject and Student's t is
  used instead; equal values then say nothing about their spread, and the interval is the whole line ("none"). Enough
  equal values give the interval [c, c].
  """
  _on_the_line(values)
  n = len(values)
  k = math.floor(level * 2 ** min(n, ENUMERATED) * (1 + RELATIVE))
  if k < 1:
    if n < 2 or not np.isfinite(values).all() or min(values) == max(values):
      return Interval(-math.inf, math.inf, "none")
    return t_interval(values, level)
  means = subset_means(values)
  exact = n <= ENUMERATED
  high = means[-k] if exact else -subset_means([-x for x in values])[k - 1]
  return Interval(float(means[k - 1]), float(high), "sign-flip" if exact else "sampled sign-flip")


def within(found: Interval, low: float, high: float) -> Interval:
  """The part of an interval that lies in the range [low, high] of the quantity, which loses no truth that it held.

  Means of values in a range stay inside by themselves under the sign-flip test; Student's t knows no range.
  """
  cut = Interval(min(max(found.low, low), high), max(min(found.high, high), low), found.method)
  return cut._replace(method=f"t within [{low:g}, {high:g}]") if cut != found and found.method == "t" else cut


def seeds_needed(level: float) -> int:
  """The fewest values from which the exact sign-flip test can reject at this one-sided level."""
  return math.ceil(-math.log2(level) - RELATIVE)


def said(method: str, n: int, level: float = 0.025) -> str:
  """The method of an interval in words, for wherever the interval is shown."""
  if method.startswith("t"):
    few = f", as {n} seeds are too few for the exact test ({seeds_needed(level)})" if n < seeds_needed(level) else ""
    return f"Student's {method}{few}"
  few = f"none: {n} value{'s' if n != 1 else ''}, too few or too alike"
  return {"sign-flip": "exact sign-flip", "sampled sign-flip": "sampled sign-flip", "none": few}[method]


def two_sided(values: Sequence[float], method: str) -> float:
  """The p that belongs to an interval of this method; 1.0 where there is none."""
  if method == "none":
    return 1.0
  test = sign_flip if method.endswith("sign-flip") else t_test
  return min(1.0, 2 * min(test(values), test([-x for x in values])))


def t_interval(values: Sequence[float], level: float) -> Interval:
  """Student's interval of the mean (paired: pass the differences); the whole line for fewer than two values."""
  _on_the_line(values)
  n = len(values)
  if n < 2:
    return Interval(-math.inf, math.inf, "none")
  reach = _student(level, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
  center = float(np.mean(values))
  return Interval(center - reach, center + reach, "t")


def t_test(values: Sequence[float], above: float = 0.0) -> float:
  """One-sided p of "the mean exceeds `above`" by Student's t; 1.0 where it cannot be computed."""
  _on_the_line(values)
  n = len(values)
  if n < 2 or not np.isfinite(values).all() or min(values) == max(values):
    return 1.0
  return float(special.stdtr(n - 1, (above - np.mean(values)) * math.sqrt(n) / np.std(values, ddof=1)))


def minimum_detectable_effect(sd: float, n: int, alpha: float, power: float = 0.8) -> float:
  """The true mean that a one-sided t test of n values with spread `sd` finds with probability `power`.

  Measured from the threshold, so a claim of "more than delta" needs a truth of delta plus this. Infinite for n < 2.
  """
  if n < 2 or not math.isfinite(sd):
    return math.inf
  return sd / math.sqrt(n) * _detectable_shift(n, alpha, power)


@functools.lru_cache(maxsize=256)
def _detectable_shift(n: int, alpha: float, power: float) -> float:
  """The noncentrality of Student's t that puts `power` of it above the critical value."""
  return float(special.nctdtrinc(n - 1, 1.0 - power, _student(alpha, n - 1)))


def student(value: float, freedom: float) -> float:
  """The probability that Student's t lies below a value."""
  return float(special.stdtr(freedom, value))


def _student(level: float, freedom: float) -> float:
  """The point that Student's t exceeds with probability `level`."""
  return -float(special.stdtrit(freedom, level))


def restricted(times: Sequence[float | None], budget: float) -> list[float]:
  """Times censored at the budget: a run that never arrived (None, NaN, later) counts with the whole budget."""
  return [budget if t is None or math.isnan(t) else min(float(t), float(budget)) for t in times]


def _on_the_line(values: Sequence[float]) -> None:
  if len(values) == 0:
    raise ValueError("no values")
  if np.isnan(values).any():
    raise ValueError("a NaN has no place on the line: record the worst case instead")
  if np.isposinf(values).any() and np.isneginf(values).any():
    raise ValueError("infinities of both signs have no mean")
