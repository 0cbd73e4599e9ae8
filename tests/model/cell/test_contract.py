"""The contract of every cell on disk: its paper's loop, segments, padding, carries, directions, gradients."""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import model.cell
from model import build
from model.cell.cell import Carry, Cell, keeping
from model.errors import Refused
from model.mask import Positions, rows
from tests.contract import contract, kinds
from tests.model import oracle_recurrent as oracle
from tests.model import tiny

KINDS = kinds("cell")
B, T, M, H = 2, 8, 3, 4
OPTIONS = {"tanh": {}, "lstm": {"forget_bias": 0.5}, "gru": {"chrono": 6}, "scan": {"chrono": 9}}
GIVEN = {  # (gate, constants of its units) as the papers have them
  "lstm": (1, [0.5] * H),
  "gru": (1, np.log([1, 7 / 3, 11 / 3, 5])),
  "scan": (0, np.log([1, 10 / 3, 17 / 3, 8])),
}
SEGMENTS = np.array([[1, 1, 2, 2, 0, 2, 3, 0], [4, 4, 0, 0, 4, 1, 1, 2]], np.int32)  # padding inside, too
TARGET = np.random.default_rng(5).normal(size=(B, T, H)).astype(np.float32)
each_kind = pytest.mark.parametrize("kind", KINDS)


class Solved(NamedTuple):
  """All that the tests ask of one row, as numpy."""

  h_BTH: Any
  after: Carry
  back_BTH: Any  # from the end, without a carry
  grads: tuple  # of sum(h * target) + sum(sin(3 * last state)) by parameters, x, state before, begin


@functools.cache
def cell(kind):
  return tiny.realize(lambda: build.make("cell", {"kind": kind, **OPTIONS.get(kind, {})}, width=M, hidden=H))


def drawn(kind, seed=0):
  """A row, what each segment starts from, and the state before the row, which belongs to segments 1 and 3."""
  rng, names = np.random.default_rng(seed), list(cell(kind).rest(1, jnp.float32))
  x_BTM, begin, state = rng.normal(size=(B, T, M)).astype(np.float32), {}, {}
  for name in names:
    begin[name], state[name] = (rng.normal(size=(B, *n, H)).astype(np.float32) for n in ((T,), ()))
  return x_BTM, Carry(state, np.array([1, 3], np.int32)), begin


def nothing(kind):
  """As `drawn`, but nothing before the row, and segments that start at rest."""
  x_BTM, carry, begin = drawn(kind)
  return x_BTM, *jax.tree.map(np.zeros_like, (carry, begin))


def solve(made, row, segment_BT=SEGMENTS, target=TARGET, slow=False):
  """Everything in one program of few shapes: compiling is what costs time in these tests."""
  return jax.device_get(_solve(made, *row, segment_BT, target, slow))


@functools.partial(jax.jit, static_argnames="slow")
def _solve(made, x_BTM, carry, begin, segment_BT, target, slow):
  graphdef, params, _ = nnx.split(made, nnx.Param, ...)
  positions = Positions(segment_BT, segment_BT)

  def ahead(params, x_BTM, state, begin):
    cell = nnx.merge(graphdef, params)
    if slow:  # the plain loop that every cell has, not its own faster way
      cell.sweep = functools.partial(Cell.sweep, cell)
    h_BTH, after = cell.run(x_BTM, positions, Carry(state, carry.segment_B), begin=begin)
    return (h_BTH * target).sum() + sum(jnp.sin(3 * a).sum() for a in jax.tree.leaves(after.state)), (h_BTH, after)

  grads, (h_BTH, after) = jax.grad(ahead, argnums=(0, 1, 2, 3), has_aux=True)(params, x_BTM, carry.state, begin)
  return Solved(h_BTH, after, made.run(x_BTM, positions, reverse=True)[0], grads)


def close(a, b, atol=1e-5):
  jax.tree.map(lambda u, v: np.testing.assert_allclose(np.asarray(u), np.asarray(v), rtol=1e-5, atol=atol), a, b)


def wide(tree):
  """float64 where numbers are real."""
  return jax.tree.map(lambda a: np.asarray(a, np.float64 if np.issubdtype(a.dtype, np.floating) else None), tree)


def check_oracle(kind, row, segment_BT, atol):
  found, numbers = solve(cell(kind), row, segment_BT), {}
  for path, leaf in nnx.to_flat_state(nnx.state(cell(kind), nnx.Param)):
    numbers[path[-1]] = np.asarray(leaf[...], np.float64)
  numbers["given"] = np.zeros((cell(kind).gates, H))
  if kind in GIVEN:
    gate, constants = GIVEN[kind]
    numbers["given"][gate] = np.asarray(constants, np.float32)
  for b in range(B):
    x_TM, (state, segment), begin = jax.tree.map(lambda a, b=b: a[b], row)
    outputs, after = oracle.row(getattr(oracle, kind), x_TM, segment_BT[b], numbers, state, segment, begin)
    close(found.h_BTH[b], outputs, atol)
    close({name: value[b] for name, value in found.after.state.items()}, after, atol)
    real = segment_BT[b][segment_BT[b] > 0]
    assert found.after.segment_B[b] == (real[-1] if len(real) else segment)


def test_every_file_is_found_and_has_an_oracle():
  files = {path.stem for path in Path(model.cell.__file__).parent.glob("*.py")} - {"__init__", "cell"}
  assert set(KINDS) == files == set(OPTIONS)
  assert all(callable(getattr(oracle, kind)) for kind in KINDS)


@each_kind
def test_equals_the_oracle(kind):
  check_oracle(kind, nothing(kind), SEGMENTS, 1e-6)
  for seed in range(4):
    segment_BT = np.random.default_rng(seed).integers(0, 3, (B, T)).astype(np.int32)
    check_oracle(kind, drawn(kind, seed), segment_BT, 1e-6)


@pytest.mark.parametrize("kind", ["lstm", "scan"])
def test_equals_the_oracle_to_the_last_digit(kind):
  """In float64, the two that do not simply take one step after another."""
  with jax.enable_x64(True):
    check_oracle(kind, wide(drawn(kind)), SEGMENTS, 1e-12)


@contract
@each_kind
def test_a_row_depends_on_no_other_row_of_its_batch(kind):
  row = nothing(kind)
  changed = (np.concatenate([row[0][:1], 1 - 2 * row[0][1:]]), *row[1:])
  one, other = (solve(cell(kind), given).h_BTH[0] for given in (row, changed))
  assert np.abs(one - other).max() < 1e-6, "the output of row 0 changes when only row 1 of the batch does"


@contract
@each_kind
def test_packed_rows_equal_rows_alone(kind):
  row = nothing(kind)
  packed = solve(cell(kind), row)
  for b, columns in [(0, [0, 1]), (0, [2, 3, 5]), (0, [6]), (1, [0, 1, 4]), (1, [5, 6]), (1, [7])]:
    x_BTM, segment_BT = np.zeros((B, T, M), np.float32), np.zeros((B, T), np.int32)
    x_BTM[0, : len(columns)], segment_BT[0, : len(columns)] = row[0][b, columns], 7
    alone = solve(cell(kind), (x_BTM, *row[1:]), segment_BT)
    close(alone.h_BTH[0, : len(columns)], packed.h_BTH[b, columns], atol=1e-6)
    close(alone.back_BTH[0, : len(columns)], packed.back_BTH[b, columns], atol=1e-6)
  assert (packed.h_BTH[SEGMENTS == 0] == 0).all()
  assert (packed.back_BTH[SEGMENTS == 0] == 0).all()


@contract
@each_kind
def test_from_the_end_is_the_mirror_image(kind):
  x_BTM, *rest = nothing(kind)
  mirrored = solve(cell(kind), (np.ascontiguousarray(x_BTM[:, ::-1]), *rest), np.ascontiguousarray(SEGMENTS[:, ::-1]))
  close(solve(cell(kind), (x_BTM, *rest)).back_BTH[:, ::-1], mirrored.h_BTH, atol=1e-6)


@contract
@each_kind
def test_token_by_token_equals_the_whole(kind):
  """Through the carry; what is not there yet is padding, so that one program serves."""
  x_BTM, carry, begin = drawn(kind)
  whole, now, parts = solve(cell(kind), (x_BTM, carry, begin)), carry, []
  for chunk in ([0], [1, 2, 3], [4, 5], [6], [7]):
    part = solve(cell(kind), (x_BTM, now, begin), np.where(np.isin(np.arange(T), chunk), SEGMENTS, 0))
    parts, now = [*parts, part.h_BTH[:, chunk]], part.after
  close((np.concatenate(parts, 1), now), (whole.h_BTH, whole.after), atol=1e-6)
  assert {leaf.shape[0] for leaf in jax.tree.leaves(now)} == {B}


@contract
@each_kind
def test_who_depends_on_whom(kind):
  row, same = nothing(kind), (SEGMENTS[:, :, None] == SEGMENTS[:, None]) & (SEGMENTS[:, :, None] > 0)
  rest = solve(cell(kind), row, target=0 * TARGET).grads[1]  # of the last state
  for t in range(T):
    found = solve(cell(kind), row, target=TARGET * (np.arange(T) == t)[:, None])
    reached_BT = np.abs(found.grads[1] - rest).max(-1) > 1e-9
    assert not reached_BT[:, t + 1 :].any(), f"the output at token {t} depends on tokens after it"
    np.testing.assert_array_equal(reached_BT, same[:, t] & (np.arange(T) <= t))


@contract
@each_kind
def test_nothing_is_dead(kind):
  """Every parameter, input, state before and state in which a segment starts gets a gradient."""
  for leaf in jax.tree.leaves(solve(cell(kind), drawn(kind)).grads):
    assert np.abs(leaf).max() > 1e-4


def test_the_own_backward_pass_is_that_of_the_plain_loop():
  close(*(solve(cell("lstm"), drawn("lstm"), slow=slow) for slow in (False, True)), atol=5e-6)


def test_gradients_of_the_own_backward_pass_agree_with_finite_differences():
  made, rng = cell("lstm"), np.random.default_rng(0)
  with jax.enable_x64(True):
    x_BTM, carry, begin = wide(drawn("lstm"))
    by_params, by_x, by_state, by_begin = solve(made, (x_BTM, carry, begin)).grads
    for moved, slopes in (({"x": x_BTM}, {"x": by_x}), (carry.state, by_state), (begin, by_begin)):
      way = jax.tree.map(lambda a: rng.normal(size=a.shape), moved)
      sides = []
      for sign in (1, -1):
        there = jax.tree.map(lambda a, d, s=sign: a + s * 1e-6 * d, moved, way)
        state = there if moved is carry.state else carry.state
        row = (there.get("x", x_BTM), Carry(state, carry.segment_B), there if moved is begin else begin)
        found = solve(made, row)
        sides.append((found.h_BTH * TARGET).sum() + sum(np.sin(3 * a).sum() for a in found.after.state.values()))
      slope = sum((slopes[name] * way[name]).sum() for name in way)
      assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(slope, rel=1e-6)
  close(by_params, solve(made, drawn("lstm"), slow=True).grads[0], atol=5e-6)


@contract
@each_kind
def test_bfloat16_stays_near_and_keeps_gradients_wide(kind):
  row = nothing(kind)
  low = (row[0].astype(jnp.bfloat16), *jax.tree.map(np.asarray, (cell(kind).start(B, jnp.bfloat16), row[2])))
  found, full = solve(cell(kind), low), solve(cell(kind), row)
  assert found.h_BTH.dtype == jnp.bfloat16
  for name, a in found.after.state.items():
    assert a.dtype == cell(kind).rest(1, jnp.bfloat16)[name].dtype, f"the state {name} changes its type on the way"
    if kind in OPTIONS:
      assert a.dtype == (jnp.bfloat16 if name == "h" and kind != "scan" else jnp.float32)  # sums are kept wide
  close(found.h_BTH.astype(np.float32), full.h_BTH, atol=0.03)
  for one, other in zip(jax.tree.leaves(found.grads[0]), jax.tree.leaves(full.grads[0]), strict=True):
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, other, atol=0.05 * np.abs(other).max() + 0.02)


def test_members_run_side_by_side():
  graphdef, params, _ = nnx.split(cell("lstm"), nnx.Param, ...)
  row = drawn("lstm")

  def grads(params):
    return _solve(nnx.merge(graphdef, params), *row, SEGMENTS, TARGET, False).grads[0]

  together = jax.jit(jax.vmap(grads))(jax.tree.map(lambda a: jnp.stack([a, -a]), params))
  for member, sign in enumerate((1, -1)):
    alone = solve(nnx.merge(graphdef, jax.tree.map(lambda a, s=sign: s * a, params)), row).grads[0]
    close(jax.tree.map(lambda a, m=member: a[m], together), alone, atol=5e-6)


def test_rows_without_padding_may_be_static():
  x_BTM, *rest = nothing("tanh")
  whole = solve(cell("tanh"), (x_BTM, *rest), np.ones((B, T), np.int32)).h_BTH
  close(jax.jit(lambda x: cell("tanh").run(x, rows(T))[0])(x_BTM), whole, atol=1e-6)


@contract
@each_kind
def test_what_a_cell_does_not_have_is_refused(kind):
  with pytest.raises(Refused, match=re.escape(f"cell {kind} has no option 'no_such_option'")):
    build.make("cell", {"kind": kind, "no_such_option": 2}, width=M, hidden=H)
  if kind in ("lstm", "gru", "scan"):
    for chrono in (-3, 1):
      with pytest.raises(Refused, match=f"chrono={chrono}.*2 or more"):
        build.make("cell", {"kind": kind, "chrono": chrono}, width=M, hidden=H)


def test_lags_are_spread_evenly():
  np.testing.assert_allclose(np.exp(keeping(5, 1.0, 10)), [1, 3, 5, 7, 9], rtol=1e-6)
  np.testing.assert_allclose(keeping(2, 0.3, 0), [0.3, 0.3], rtol=1e-6)
