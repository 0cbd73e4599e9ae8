import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.corpora import packing

ITEMS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=200)


@given(ITEMS, st.integers(9, 20))
@settings(deadline=None)
def test_no_row_overflows_and_none_is_empty(items, width):
  sizes = np.array(items)
  row = packing.first_fit(sizes, width)
  assert row.shape == (len(items),)
  assert sorted(set(row.tolist())) == list(range(row.max() + 1))
  for number in range(row.max() + 1):
    assert (sizes[row == number].sum(0) <= width).all()


@given(ITEMS)
@settings(deadline=None)
def test_items_of_a_row_stand_side_by_side(items):
  sizes = np.array(items)
  row = packing.first_fit(sizes, 12)
  start, place = packing.offsets(row, sizes[:, 0])
  for number in range(row.max() + 1):
    cursor = 0
    for order, item in enumerate(np.flatnonzero(row == number)):
      assert (start[item], place[item]) == (cursor, order)
      cursor += sizes[item, 0]


def test_rows_are_well_filled():
  sizes = np.random.default_rng(0).integers(3, 12, (20000, 2))
  assert packing.first_fit(sizes, 32).max() + 1 < 1.2 * sizes.sum(0).max() / 32


def test_an_item_wider_than_a_row_is_an_error():
  with pytest.raises(ValueError, match="33"):
    packing.first_fit(np.array([[33, 1]]), 32)
