"""Three digits, one style, and the strings that stand for numbers that are none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.pages import numbers


@pytest.mark.parametrize(
  ("x", "text"),
  [
    (None, "–"),
    (0, "0"),
    (12, "12"),
    (0.59, "0.590"),
    (0.012345, "0.0123"),
    (12.345, "12.3"),
    (1234.5, "1,230"),
    (132096, "132,096"),
    (2.5e-7, "2.50e-07"),
    (3.2e9, "3.20e+09"),
    (-0.5, "-0.500"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("-inf", "-inf"),
    (math.nan, "nan"),
    ("not a number", "nan"),
  ],
)
def test_number(x, text):
  assert numbers.number(x) == text


@given(st.floats(1e-4, 9.9e5) | st.floats(-9.9e5, -1e-4))
def test_three_digits_are_kept(x):
  assert float(numbers.number(x).replace(",", "")) == pytest.approx(x, rel=0.006)


def test_an_effect_and_its_interval_share_their_decimals():
  assert numbers.effect(0.002, (-0.031, 0.034)) == "0.0020 [-0.0310, 0.0340]"
  assert numbers.effect(0.59, ("nan", "inf")) == "0.590 [nan, inf]"
  assert numbers.effect(-1e-9, (-0.5, 0.5)) == "0.000 [-0.500, 0.500]"
  assert numbers.effect(0.5, None) == "0.500"
  assert numbers.effect(None, None) == "–"


def test_declared_numbers_lose_their_zeros():
  assert [numbers.short(x) for x in (0.1, 0.0029, 1e-3, "nan", None)] == ["0.1", "0.0029", "0.001", "nan", "–"]


def test_typeset_figures():
  assert numbers.pretty("-0.5 [-0.6, 1.2e-07]") == "−0.5 [−0.6, 1.2×10⁻⁷]"
  assert numbers.pretty("[-inf, 3e+09]") == "[−inf, 3×10⁹]"
  assert numbers.pretty("D2a-5") == "D2a-5"


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(0.42, "0.420 s"), (12.4, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), ("nan", "–")],
)
def test_duration(seconds, text):
  assert numbers.duration(seconds) == text


def test_quantity():
  assert numbers.quantity(2.1e9, "B") == "2.10 GB"
  assert numbers.quantity(0.0123, "s") == "12.3 ms"
  assert numbers.quantity(0, "B") == "0 B"
  assert numbers.quantity("nan") == "nan"


@given(st.text())
def test_plain_is_one_printable_line(text):
  assert numbers.plain(text).isprintable()
