"""A row is looked at with 12, 24 and 48 seeds and stops at the first sure decision; its level is spent over the looks.

Lan and DeMets 1983: of a level alpha, alpha(t) = alpha log(1 + (e - 1) t) may have been spent when a share t of the
seeds has been seen. Their other function, like O'Brien and Fleming's bounds, leaves a first look at a quarter of the
seeds less than 1 / 2^12 of the smallest levels in use, with which twelve seeds can decide nothing.

What each look may spend is turned into the level of its own test by the joint law of normal partial sums (Armitage,
McPherson and Rowe 1969); the test at a look is then the exact sign-flip test at that level. A test of n signs has
levels k / 2^n only; what the first look must leave for that reason the later ones spend.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from experiments.protocol.stats import ENUMERATED, RELATIVE

MOST = 3  # looks, each at twice the seeds of the one before
POINTS = 1201  # of the grid that partial sums are integrated over
REACH = 9.0  # standard deviations below the mean from which on they are


class Look(NamedTuple):
  """One look of a row: its number from 1, how many there may be, seeds seen, the test's level and the row's whole."""

  number: int
  of: int
  n: int
  level: float
  whole: float

  @property
  def can_decide(self) -> bool:
    """Whether the sign-flip test of n values can reach the level at all."""
    return self.level * 2 ** min(self.n, ENUMERATED) * (1 + RELATIVE) >= 1

  @property
  def record(self) -> dict[str, float]:
    """What a row keeps of its look."""
    return {"number": self.number, "of": self.of, "n": self.n, "level": self.whole}

  @property
  def last(self) -> bool:
    return self.number == self.of


def schedule(first: int, whole: float) -> Iterator[Look]:
  """The looks of a row whose first look has `first` seeds, at the one-sided level `whole` for all of them."""
  sizes = tuple(first * 2**doubling for doubling in range(MOST))
  for number, n in enumerate(sizes, 1):
    yield Look(number, len(sizes), n, _levels(sizes[:number], sizes[-1], whole)[-1], whole)


def spent(share: float, whole: float) -> float:
  """How much of the level `whole` may be spent at a share of the seeds between 0 and 1."""
  return whole * math.log1p((math.e - 1) * share)


@functools.lru_cache(maxsize=256)
def _levels(sizes: tuple[int, ...], most: int, whole: float) -> tuple[float, ...]:
  """The level of the test at each look, such that some look rejects a true null with probability `whole` at most."""
  found, crossed, before = [], 0.0, 0
  sums_P, mass_P = np.zeros(1), np.ones(1)  # where the partial sum may be while no bound was crossed, and how likely
  for n in sizes:
    step = math.sqrt(n - before)
    nominal = _nominal(sums_P, mass_P, step, n, spent(n / most, whole) - crossed)
    found.append(nominal)
    if n < sizes[-1]:
      attained = _attained(nominal, n)
      bound = -float(special.ndtri(attained)) * math.sqrt(n) if attained else math.inf
      crossed += _beyond(bound, sums_P, mass_P, step)
      sums_P, mass_P = _go_on(sums_P, mass_P, step, n, bound)
      before = n
  return tuple(found)


def _nominal(sums_P, mass_P, step: float, n: int, allowed: float) -> float:
  """The level at n seeds whose bound is crossed now, and was not before, with probability `allowed`."""
  size = math.sqrt(n)
  excess = lambda z: math.log(max(_beyond(z * size, sums_P, mass_P, step), 1e-300)) - math.log(allowed)  # noqa: E731
  found = optimize.brentq(excess, -REACH, REACH, xtol=1e-10)
  return float(special.ndtr(-float(found)))  # pyright: ignore[reportArgumentType] two results only when asked for


def _attained(level: float, n: int) -> float:
  """The largest level of a sign-flip test of n values that is not above `level`."""
  patterns = 2 ** min(n, ENUMERATED)
  return math.floor(level * patterns * (1 + RELATIVE)) / patterns


def _beyond(bound: float, sums_P, mass_P, step: float) -> float:
  """How likely the next partial sum lies above the bound, given the mass of the last one."""
  return float(mass_P @ special.ndtr((sums_P - bound) / step))


def _go_on(sums_P, mass_P, step: float, n: int, bound: float):
  """The mass of the next partial sum on a grid below the bound."""
  size = math.sqrt(n)
  next_P, width = np.linspace(-REACH * size, min(bound, REACH * size), POINTS, retstep=True)
  density_P = np.exp(-(((next_P[:, None] - sums_P) / step) ** 2) / 2) @ mass_P / (step * math.sqrt(2 * math.pi))
  weights_P = np.full(POINTS, width)
  weights_P[[0, -1]] /= 2
  return next_P, density_P * weights_P
