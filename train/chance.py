"""What a guess is worth that knows which symbols were shown, but not where: sums over multinomial counts."""

import math

import numpy as np


def expected_mode(draws: int, values: int) -> float:
  """Expected share of the most frequent of `values` symbols among `draws` uniform ones.

  This is what a model reaches that sees which values are in the memory but not which is asked for.
  P(no symbol more than k times) = draws! [x^draws] (sum_{j<=k} x^j / j!)^values / values^draws.
  """
  below = []
  for most in range(draws + 1):
    once = np.array([1 / math.factorial(j) for j in range(most + 1)])
    power = np.ones(1)
    for _ in range(values):
      power = np.convolve(power, once)[: draws + 1]
    count = power[draws] if len(power) > draws else 0.0
    below.append(count * math.exp(math.lgamma(draws + 1) - draws * math.log(values)))
  return sum(1 - share for share in below[:-1]) / draws


def expected_entropy(draws: int, values: int) -> float:
  """Expected entropy in nats of the empirical distribution of `draws` uniform symbols out of `values`."""
  total = 0.0
  for count in range(1, draws + 1):
    chance = math.comb(draws, count) * (1 / values) ** count * (1 - 1 / values) ** (draws - count)
    total -= values * chance * (count / draws) * math.log(count / draws)
  return total
