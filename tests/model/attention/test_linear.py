"""Linear attention: by chunks, in any order and step by step it is the dense path with the kernel f(q).f(k)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import build
from model.attention.linear import _features
from model.errors import Refused
from model.kernels import prefix
from model.kernels.softmax import attend
from model.mask import Mask, Positions, causal, everything, rows, window
from tests.model import oracle
from tests.model.attention import cases, oracles_linear

RULES = {"causal": causal(), "everything": everything()}
each_rule = pytest.mark.parametrize("rule", RULES)


def close(a, b, atol=2e-6):
  np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=atol)


@functools.partial(jax.jit, static_argnames="rule")
def routes(made, qkv, positions, target, rule):
  """(Output, log-sum-exp, gradients) by chunks in order, by chunks after sorting, and densely."""
  in_order, in_any = (
    Mask(positions, positions, RULES[rule]),
    Mask(positions, Positions(positions[0] + 0, positions[1] + 0), RULES[rule]),
  )
  assert prefix._in_order(in_order)
  assert not prefix._in_order(in_any)

  def solved(call):
    def loss(qkv):
      out, lse = call(*qkv)
      return (out * target).sum() + jnp.where(jnp.isfinite(lse), lse, 0.0).sum(), (out, lse)

    grads, (out, lse) = jax.grad(loss, has_aux=True)(qkv)
    return out, lse, grads

  calls = [lambda *qkv, mask=mask: made(*qkv, mask) for mask in (in_order, in_any)]
  return [solved(call) for call in (*calls, lambda *qkv: attend(made, *qkv, in_order))]


def check_routes(made, rule):
  """The three routes agree in float64, and their gradients with finite differences."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    qkv, positions = cases.qkv(2, 2, value_dim=5, dtype=np.float64), cases.packed()
    target = rng.normal(size=(*qkv[0].shape[:-1], 5))
    *chunked, dense = jax.device_get(routes(made, qkv, positions, target, rule))
    for found in chunked:
      for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(dense), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    steps = [1e-5 * rng.normal(size=a.shape) for a in qkv]
    sides = [
      jax.device_get(
        routes(made, tuple(a + s * d for a, d in zip(qkv, steps, strict=True)), positions, target, rule)[0]
      )
      for s in (1, -1)
    ]
    value = [(out * target).sum() + lse[np.isfinite(lse)].sum() for out, lse, _ in sides]
    slope = sum((g * d).sum() for g, d in zip(chunked[0][2], steps, strict=True))
    assert (value[0] - value[1]) / 2 == pytest.approx(slope, rel=1e-6)


@each_rule
def test_chunks_sorting_and_the_dense_path_agree_with_finite_differences(rule):
  check_routes(cases.mechanism("linear", 2, 2, chunk=5), rule)


def test_equals_the_oracle():
  made, qkv, positions = cases.mechanism("linear", 2, 2, chunk=5), cases.qkv(2, 2, value_dim=3), cases.packed()
  found = jax.jit(lambda qkv: {name: made(*qkv, Mask(positions, positions, rule))[0] for name, rule in RULES.items()})(
    qkv
  )
  for name in RULES:
    expected = oracles_linear.linear(made, *qkv, oracle.seen(getattr(oracle, name), *positions, *positions))
    close(found[name], expected)
    assert (expected[0, 13:] == 0).all()


def check_chunks(kind, **options):
  """Any size of chunk gives the dense answer: one that does not divide, and more chunks than a block holds."""
  length = 2 * prefix.BLOCK + 21  # chunks of 2 fill more than a block, chunks of 7 do not divide
  pos = np.concatenate([np.arange(40), np.arange(3), np.arange(2), np.arange(length - 45)])
  numbers = np.repeat([1, 2, 5, 9], [40, 3, 2, length - 45])
  positions = Positions(*(np.stack([a, a]).astype(np.int32) for a in (pos, numbers)))
  positions.segment_BT[1, -30:-25] = 0  # padding inside of a segment
  qkv = cases.qkv(1, 1, queries=length, keys=length, head_dim=4, value_dim=3)

  @jax.jit
  def run(qkv):
    outs = []
    for rule in RULES.values():
      mask = Mask(positions, positions, rule)
      assert prefix._in_order(mask)
      made = [cases.mechanism(kind, 1, 1, head_dim=4, chunk=chunk, **options) for chunk in (2, 7)]
      outs.append([attend(made[0], *qkv, mask), *(one(*qkv, mask) for one in made)])
    return outs

  for dense, *chunked in run(qkv):
    for out, lse in chunked:
      close(out, dense[0])
      close(lse, dense[1], atol=1e-5)


def test_the_size_of_a_chunk_does_not_matter():
  check_chunks("linear")


def check_any_order(made):
  """Keys and queries of different sequences, in any order, with any numbers for segments."""
  rng = np.random.default_rng(3)
  numbers = np.array([0, 1, 7, 1_000_000])
  q_positions, k_positions = (
    Positions(rng.integers(0, 6, (2, n)).astype(np.int32), numbers[rng.integers(0, 4, (2, n))].astype(np.int32))
    for n in (9, 13)
  )
  qkv = cases.qkv(2, 2, queries=9, keys=13)
  for rule in RULES.values():
    mask = Mask(q_positions, k_positions, rule)
    (out, lse), dense = jax.jit(lambda qkv, mask: (made(*qkv, mask), attend(made, *qkv, mask)))(qkv, mask)
    close(out, dense[0])
    close(lse, dense[1])


def test_cross_attention_in_any_order_equals_the_dense_path():
  check_any_order(cases.mechanism("linear", 2, 2, chunk=4))


def test_rows_are_taken_as_they_stand_only_when_they_are_in_order():
  positions = cases.packed()
  assert prefix._in_order(Mask(positions, positions, causal()))
  assert prefix._in_order(Mask(rows(8), rows(8), causal()))
  shuffled = positions.at(np.random.default_rng(0).permutation(16))
  again = Positions(np.array([[0, 1, 2, 3]]), np.array([[1, 2, 2, 1]]))  # segment 1 comes back
  for mask in (Mask(rows(8), rows(8, 2), causal()), Mask(shuffled, shuffled, causal()), Mask(again, again, causal())):
    assert not prefix._in_order(mask)


def check_future(made, scale):
  """What comes later changes no bit of what was before, and no gradient reaches it."""
  qkv, others, positions = cases.qkv(2, 2), cases.qkv(2, 2, seed=7), cases.whole()
  mask = Mask(positions, positions, causal())

  @jax.jit
  def run(qkv, target):
    def loss(qkv):
      out = made(*qkv, mask)[0]
      return (out * target).sum(), out

    return jax.grad(loss, has_aux=True)(qkv)

  for t in (3, 4, 11):  # inside of a chunk, the last of one
    later = [np.concatenate([a[:, : t + 1], scale * b[:, t + 1 :]], 1) for a, b in zip(qkv, others, strict=True)]
    target = np.zeros(qkv[0].shape, np.float32)
    target[:, : t + 1] = 1.0
    (grads, out), (_, changed) = run(qkv, target), run(later, target)
    np.testing.assert_array_equal(out[:, : t + 1], changed[:, : t + 1])
    assert np.abs(np.asarray(out - changed))[:, t + 1 :].max() > 0.01
    assert all((np.asarray(g)[:, t + 1 :] == 0).all() and np.isfinite(g).all() for g in grads)


def test_the_future_changes_no_bit_of_the_past():
  check_future(cases.mechanism("linear", 2, 2, chunk=5), 30.0)


def check_steps(made):
  """Token by token, and a padded prompt followed by tokens, equal the whole row; the state keeps its size."""
  qkv, positions = cases.qkv(2, 2, value_dim=5), cases.packed()

  @jax.jit
  def one_by_one(qkv):
    columns = jax.tree.map(lambda a: jnp.moveaxis(jnp.asarray(a), 1, 0)[:, :, None], (*qkv, *positions))

    def step(state, column):
      q, k, v, *here = column
      out, state = made.advance(state, q, k, v, Mask(Positions(*here), Positions(*here), causal()))
      return state, out[:, 0]

    state = made.start(2, 2, 5, jnp.float32)
    return jnp.moveaxis(jax.lax.scan(step, state, columns)[1], 0, 1), made(*qkv, Mask(positions, positions, causal()))[
      0
    ]

  close(*one_by_one(qkv))

  @jax.jit
  def with_prompt(qkv):  # 6 tokens, of which the last 2 are padding in row 1, then the rest
    q, k, v = qkv
    short = Positions(positions.pos_BT, positions.segment_BT * np.array([[1] * 16, [1] * 4 + [0] * 2 + [1] * 10]))
    state, outs = made.start(2, 2, 5, jnp.float32), []
    for part in (slice(0, 6), slice(6, 9), slice(9, 16)):
      out, state = made.advance(
        state, q[:, part], k[:, part], v[:, part], Mask(short.at(part), short.at(part), causal())
      )
      outs.append(out)
    return jnp.concatenate(outs, 1), made(q, k, v, Mask(short, short, causal()))[0], state

  parts, expected, state = with_prompt(qkv)
  close(parts, expected)
  assert (np.asarray(parts)[1, 4:6] == 0).all()
  features = state.sum_BKFD.shape[2]
  assert jax.tree.map(np.shape, state) == ((2, 2, features, 6), (2, 2), (2,))


def test_decoding_with_a_state_of_constant_size_equals_the_whole_row():
  check_steps(cases.mechanism("linear", 2, 2, chunk=4))


def check_memory(made):
  """A memory stored by one call with one query is read by all later ones."""
  q, k, v = cases.qkv(2, 2, queries=3, keys=11)
  k_positions = Positions(np.tile(np.arange(11), (2, 1)), np.array([[1] * 11, [1] * 6 + [0] * 5]))

  @jax.jit
  def run(q, k, v):
    state = made.start(2, 2, cases.D, jnp.float32)
    first = Mask(k_positions.at(slice(1)), k_positions, everything())
    _, state = made.advance(state, jnp.zeros_like(q[:, :1]), k, v, first)
    out, after = made.advance(state, q, None, None, Mask(rows(3), k_positions, everything()))
    same = [(a == b).all() for a, b in zip(state, after, strict=True)]
    return out, attend(made, q, k, v, Mask(rows(3), k_positions, everything()))[0], jnp.stack(same)

  out, dense, same = run(q, k, v)
  close(out, dense)
  assert same.all()


def test_a_stored_memory_is_read_without_its_keys():
  check_memory(cases.mechanism("linear", 2, 2, chunk=4))


def test_the_features_are_elu_plus_one_and_never_vanish():
  x = np.array([[3.0, 0.5, 0.0, -0.5, -3.0], [-200.0, -201.0, -300.0, -250.0, -200.5]], np.float32)
  value, scale = _features(x)
  close((value * np.exp(scale)[:, None])[0], jax.nn.elu(x[0]) + 1)
  close(value[1, :2], [1.0, np.exp(-1.0)])
  slope = jax.grad(lambda x: (_features(x).value * jnp.exp(_features(x).scale)[..., None]).sum())(x[0])
  close(slope, [1, 1, 1, np.exp(-0.5), np.exp(-3)])
  q, k, v = (np.round(64 * a) / 64 for a in cases.qkv(1, 1))  # so that what follows does not round them
  made, mask = cases.mechanism("linear", 1, 1), cases.self_mask(cases.packed())
  low = cases.run(made, (q - 300, k - 500, v), mask)[0]
  assert (np.abs(low[1]) > 0).all()
  close(low, cases.run(made, (q - 20, k - 20, v), mask)[0])  # far below zero only ratios are left


def sizes(jaxpr):
  """The number of elements of every array in a program, loops included."""
  for equation in jaxpr.eqns:
    yield from (v.aval.size for v in equation.outvars)
    for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
      inner = getattr(inner, "jaxpr", inner)
      if hasattr(inner, "eqns"):
        yield from sizes(inner)


def check_growth(made, rules):
  """No array grows with the square of the length, forward or backward, in order or not."""
  for rule in rules:
    for shift in (0, 1):
      largest = []
      for length in (2048, 4096):
        qkv = cases.qkv(1, 1, batch=1, queries=length, keys=length)
        mask = Mask(rows(length), rows(length, shift), RULES[rule])
        program = jax.make_jaxpr(jax.grad(lambda qkv, mask=mask: made(*qkv, mask)[0].sum()))(qkv)
        largest.append(max(sizes(program.jaxpr)))
      assert largest[1] <= 2 * largest[0]
      assert largest[1] < 4096 * 256


def test_no_array_grows_with_the_square_of_the_length():
  check_growth(cases.mechanism("linear", 1, 1, chunk=32), RULES)


def test_what_it_has_no_place_for_is_refused():
  made, qkv, positions = cases.mechanism("linear", 2, 2), cases.qkv(2, 2), cases.packed()
  rope = build.make("position", {"kind": "rope"}, width=8, heads=1, head_dim=8)
  for call in (
    lambda: made(*qkv, Mask(positions, positions, causal() & window(4))),
    lambda: made(*qkv, Mask(positions, positions, causal()), rope),
    lambda: made(*qkv, Mask(positions, positions, causal()), block=4),
    lambda: build.make("attention", {"kind": "linear", "chunk": 0}, heads=2, head_dim=4, layer=0),
  ):
    with pytest.raises(Refused, match="inear attention") as caught:
      call()
    assert "\n" not in str(caught.value)


def test_bfloat16_is_summed_in_float32():
  made, mask = cases.mechanism("linear", 1, 1, chunk=4), cases.self_mask(cases.whole())
  halves = [a.astype(jnp.bfloat16) for a in cases.qkv(1, 1)]
  out, exact = (cases.run(made, qkv, mask)[0] for qkv in (halves, [a.astype(np.float32) for a in halves]))
  assert out.dtype == jnp.bfloat16
  np.testing.assert_allclose(out.astype(np.float32), exact, rtol=2**-8, atol=1e-6)  # one rounding, at the end
