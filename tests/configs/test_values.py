"""Numbers are plain and fit float32 and int32; whatever fits is what NumPy makes of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import values


@given(st.floats(width=64) | st.integers(-(10**45), 10**45))
def test_a_number_passes_where_float32_keeps_it(value):
  with np.errstate(all="ignore"):
    kept = np.float32(value) if abs(value) < 2**1000 else np.float32(np.inf)
  subnormal = kept == 0 or abs(kept) < np.finfo(np.float32).tiny
  fits = bool(np.isfinite(kept)) and abs(value) <= float(np.finfo(np.float32).max) and (value == 0 or not subnormal)
  try:
    assert values.real32(value) == float(value)
    passed = True
  except ValueError:
    passed = False
  edge = value != 0 and abs(abs(value) - values.SMALLEST) < 1e-45  # rounds up to the smallest that is normal
  assert passed == fits or edge


@pytest.mark.parametrize("text", ["1_0", "0x10", "１０", "٣", "1e2", "1.", " 5 ", "+-1", "", "1,", "1j", "True", "--1"])
def test_a_whole_number_is_plain(text):
  with pytest.raises(ValueError, match="whole number"):
    values.parse(text, "int")


@pytest.mark.parametrize("text", ["1_0.5", "0x1p3", "１.5", "nan", "inf", "1e", ".", "e5", "1e5.0", "1 000", "½"])
def test_a_number_is_plain(text):
  with pytest.raises(ValueError, match="a number"):
    values.parse(text, "float")


@given(
  st.floats(-(2.0**100), 2.0**100).filter(lambda x: x == 0 or abs(x) > 1e-37), st.integers(-(2**31) + 1, 2**31 - 1)
)
def test_what_python_writes_is_read_back(real, whole):
  assert values.parse(repr(real), "float") == real
  assert values.parse(str(whole), "int") == whole
