"""Position schemes: identities, the papers' formulas, and a table that never clamps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import build
from model.errors import Refused
from model.initial import realize
from model.mask import Positions, rows
from tests.model import oracle

HOOKS = ("embed", "rotate", "inside", "after", "values")


def scheme(kind, width=8, **options):
  return realize(lambda: build.make("position", {"kind": kind, **options}, width=width, heads=2, head_dim=4), 0)


def test_none_is_the_identity_everywhere():
  none = scheme("none")
  assert not any(none.acts(hook) for hook in HOOKS)
  x = np.ones((2, 3, 8), np.float32)
  assert none.embed(x, rows(3)) is x
  assert none.rotate(x, rows(3)) is x
  assert none.inside(x, x, rows(3), rows(3)) == none.after(rows(3), rows(3)) == none.values(x, rows(3), rows(3)) == 0.0


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_absolute_schemes_act_on_the_input_only(kind):
  assert [hook for hook in HOOKS if scheme(kind).acts(hook)] == ["embed"]


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_sinusoids_equal_the_formula_at_any_position(width, base):
  made = scheme("sinusoidal", width, base=base)
  pos_BT = np.array([[0, 1, 2, 511], [7, 7, 0, 90]])
  added = made.embed(np.zeros((2, 4, width), np.float32), Positions(pos_BT, np.ones_like(pos_BT)))
  expected = np.array([[oracle.sinusoid(p, width, base) for p in row] for row in pos_BT])
  np.testing.assert_allclose(added, expected, atol=1e-4)  # angles of some hundred radians in float32


def test_a_sinusoid_base_of_one_is_refused():
  with pytest.raises(Refused, match="10000"):
    scheme("sinusoidal", base=1.0)


def test_the_table_is_read_by_position_not_by_place():
  made = scheme("learned", length=6)
  pos_BT = np.array([[3, 0, 5], [5, 5, 1]])
  added = made.embed(np.zeros((2, 3, 8), np.float32), Positions(pos_BT, np.ones_like(pos_BT)))
  np.testing.assert_array_equal(added, np.asarray(made.table[...])[pos_BT])


def test_a_position_beyond_the_table_is_refused_when_known():
  made = scheme("learned", length=4)
  x = np.zeros((1, 3, 8), np.float32)
  for positions in (rows(3, start=2), rows(3, start=-1), Positions(jnp.array([[0, 4, 1]]), jnp.ones((1, 3)))):
    with pytest.raises(Refused, match=r"0\.\.3") as caught:
      made.embed(x, positions)
    assert "\n" not in str(caught.value)
  with pytest.raises(Refused, match=r"0\.\.3"):  # static positions are known inside a program, too
    jax.jit(lambda x: made.embed(x, rows(3, start=2)))(x)
  with pytest.raises(Refused, match="length=0"):
    scheme("learned", length=0)


def test_a_position_beyond_the_table_is_nan_when_traced_and_never_clamped():
  made = scheme("learned", length=4)
  x = np.zeros((1, 5, 8), np.float32)
  y = jax.jit(lambda pos: made.embed(x, Positions(pos, jnp.ones_like(pos))))(np.array([[0, 3, 4, -1, 100]]))
  np.testing.assert_array_equal(np.isnan(y).all(-1), [[False, False, True, True, True]])
