"""What a guess is worth that knows which symbols were shown, but not where: sums over multinomial counts.

Plain Python, so that claims may read it without loading an array library.
"""

import math
from collections.abc import Sequence


def expected_mode(draws: int, values: int) -> float:
  """Expected share of the most frequent of `values` symbols among `draws` uniform ones.

  This is what a model reaches that sees which values are in the memory but not which is asked for.
  P(no symbol more than k times) = draws! [x^draws] (sum_{j<=k} x^j / j!)^values / values^draws.
  """
  scale = math.exp(math.lgamma(draws + 1) - draws * math.log(values))
  below = []
  for most in range(draws):
    once = [1 / math.factorial(j) for j in range(most + 1)]
    power = [1.0]
    for _ in range(values):
      power = _product(power, once, draws + 1)
    below.append(power[draws] * scale if len(power) > draws else 0.0)
  return sum(1 - share for share in below) / draws


def expected_entropy(draws: int, values: int) -> float:
  """Expected entropy in nats of the empirical distribution of `draws` uniform symbols out of `values`."""
  total = 0.0
  for count in range(1, draws + 1):
    chance = math.comb(draws, count) * (1 / values) ** count * (1 - 1 / values) ** (draws - count)
    total -= values * chance * (count / draws) * math.log(count / draws)
  return total


def guess_from_a_bag(length: int, values: int) -> float:
  """Best mean accuracy at naming the token before one's own in rows of `length` uniform symbols, from the second on.

  The guesser reads the row up to itself and knows its own symbol apart, but all others as a bag: the one asked for
  might be any of them.
  """
  return sum(expected_mode(earlier, values) for earlier in range(1, length)) / (length - 1)


def _product(one: Sequence[float], other: Sequence[float], terms: int) -> list[float]:
  """The first `terms` coefficients of a product of two polynomials."""
  found = [0.0] * min(len(one) + len(other) - 1, terms)
  for i, a in enumerate(one):
    for j, b in enumerate(other[: terms - i]):
      found[i + j] += a * b
  return found
