"""Rows in pieces against numpy slices, and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from model.kernels import cutting


@pytest.mark.parametrize(("length", "size"), [(5, 2), (6, 3), (1, 4), (4, 1)])
def test_pieces_stand_in_front_with_zeros_at_the_end_and_go_back(length, size):
  a_BTD = np.arange(1, 1 + 2 * length * 3).reshape(2, length, 3)
  found_NBsD = np.asarray(cutting.stacked(jnp.asarray(a_BTD), size))
  assert found_NBsD.shape == (-(-length // size), 2, size, 3)
  for n, piece_BsD in enumerate(found_NBsD):
    there_BsD = a_BTD[:, n * size : (n + 1) * size]
    np.testing.assert_array_equal(piece_BsD[:, : there_BsD.shape[1]], there_BsD)
    assert (piece_BsD[:, there_BsD.shape[1] :] == 0).all()
  np.testing.assert_array_equal(cutting.unstacked(jnp.asarray(found_NBsD), length), a_BTD)


def test_an_array_is_filled_up_along_any_axis_and_two_axes_become_one():
  a = jnp.ones((2, 3, 4))
  assert cutting.padded(a, 5, axis=2).shape == (2, 3, 5)
  assert float(cutting.padded(a, 5, axis=2)[..., 4].sum()) == 0
  assert cutting.joined(cutting.cut(a, 3), 1).shape == a.shape
  assert [cutting.whole(n, 4) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]
