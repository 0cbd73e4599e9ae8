"""The contract of every mechanism on disk: what its `supports` promises holds, what it denies is refused."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model import build
from model.attention.mechanism import Mechanism
from model.errors import Refused
from model.kernels.softmax import merge
from model.mask import Mask, Positions, causal, everything, rows, window
from tests.contract import contract
from tests.model import oracle
from tests.model.attention import cases

# Kinds that only define scores are softmax attention under any rule, with one oracle for all.
SOFTMAX = [kind for kind in cases.KINDS if build.resolve("attention", kind).__call__ is Mechanism.__call__]
# conftest.py asks for less optimization, under which a loop of one turn may round differently.
AS_A_USER = {"xla_cpu_use_fusion_emitters": True, "xla_backend_optimization_level": 3}
each_kind = pytest.mark.parametrize("kind", cases.KINDS)
each_softmax = pytest.mark.parametrize("kind", SOFTMAX)
each_path = pytest.mark.parametrize(
  ("kind", "block"), [(kind, block) for kind in cases.KINDS for block in cases.paths(kind)]
)
each_grouping = pytest.mark.parametrize(
  ("kind", "grouping"), [(kind, name) for kind in cases.KINDS for name in cases.groupings(kind)]
)
SIZES = [  # (K, G), (T, S, D, Dv), rule
  ((3, 1), (3, 5, 4, 3), causal(), oracle.causal),
  ((2, 2), (5, 3, 2, 2), everything(), oracle.everything),
  ((1, 4), (1, 1, 1, 5), causal(), oracle.causal),
]


def close(a, b, atol=2e-6):
  np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=atol)


def made_for(kind):
  """A mechanism, and inputs for it."""
  grouping = cases.usual(kind)
  return cases.mechanism(kind, *grouping), cases.given(kind, *grouping)


def oracles(kind):
  """Functions of the kind's name in tests/model/oracle.py, an oracles_*.py beside this file, or the kind's own test."""
  here = cases.FOLDER.parents[1] / "tests" / "model" / "attention"
  names = [
    "tests.model.oracle",
    *(f"tests.model.attention.{p.stem}" for p in [*here.glob("oracles_*.py"), *here.glob(f"test_{kind}.py")]),
  ]
  return [found for name in names if (found := getattr(importlib.import_module(name), kind, None)) is not None]


def test_every_file_is_found_and_has_an_oracle():
  files = {path.stem for path in cases.FOLDER.glob("*.py")} - {"__init__", "mechanism"}
  assert set(cases.KINDS) == files
  assert len(cases.KINDS) == len(files) >= 11
  assert set(SOFTMAX) >= {"dot", "additive", "cosine"}
  assert [kind for kind in cases.KINDS if not oracles(kind)] == []


@each_softmax
@settings(max_examples=12, deadline=None)
@given(case=st.sampled_from(SIZES), seed=st.integers(0, 10**6))
@example(case=SIZES[2], seed=474)  # with a query next to nothing
def test_equals_the_oracle(kind, case, seed):
  grouping, (queries, keys, head_dim, value_dim), rule, spoken = case
  made, rng = cases.mechanism(kind, *grouping, head_dim=head_dim), np.random.default_rng(seed)
  qkv = cases.qkv(*grouping, queries=queries, keys=keys, head_dim=head_dim, value_dim=value_dim, seed=seed)
  q_positions, k_positions = (
    Positions(rng.integers(0, 6, (2, n)), rng.integers(0, 3, (2, n))) for n in (queries, keys)
  )
  seen = oracle.seen(spoken, *q_positions, *k_positions)
  out, weights, lse = oracle.attention(oracles(kind)[0], cases.numbers(made), *qkv, seen)
  got = cases.solve(made, qkv, Mask(q_positions, k_positions, rule))
  close(got.out, out)
  close(got.weights, weights)
  close(got.lse, lse)


@contract
@each_path
def test_gradients_agree_with_finite_differences(kind, block):
  made, qkv = made_for(kind)
  mask, rng = cases.self_mask(cases.packed()), np.random.default_rng(0)
  with jax.enable_x64(True):
    qkv = [a.astype(np.float64) for a in qkv]
    target = rng.normal(size=qkv[0].shape).astype(np.float32)
    grads = cases.solve(made, qkv, mask, target, block).grads
    for i in range(3):
      step = [1e-5 * rng.normal(size=a.shape) * (j == i) for j, a in enumerate(qkv)]
      sides = [
        cases.solve(made, [a + s * d for a, d in zip(qkv, step, strict=True)], mask, target, block).out for s in (1, -1)
      ]
      slope = ((sides[0] - sides[1]) / 2 * target).sum()
      assert slope == pytest.approx((grads[i] * step[i]).sum(), rel=1e-5, abs=1e-12)


@contract
@each_path
def test_no_gradient_reaches_the_future(kind, block):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.whole())
  reached = np.zeros((16, 16), bool)
  for t in range(16):
    target = np.zeros(qkv[0].shape)
    target[:, t] = cases.qkv(*cases.usual(kind), seed=1)[0][:, t]
    by_q, by_k, by_v = cases.solve(made, qkv, mask, target, block).grads
    assert (by_k[:, t + 1 :] == 0.0).all(), f"the output at token {t} depends on keys after it"
    assert (by_v[:, t + 1 :] == 0.0).all(), f"the output at token {t} depends on values after it"
    assert (np.delete(by_q, t, 1) == 0.0).all(), f"the output at token {t} depends on queries of other tokens"
    reached[t] = np.abs(by_v).max((0, 2, 3)) > 0.0
  assert reached.diagonal(-1).all() or cases.SUPPORTS[kind].tied  # hashing may miss a neighbor
  assert np.array_equal(reached, np.tril(np.ones((16, 16), bool))) or not cases.SUPPORTS[kind].cross


@contract
@each_path
def test_a_row_depends_on_no_other_row_of_its_batch(kind, block):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.packed())
  changed = [np.concatenate([a[:1], 1 - 2 * a[1:]]) for a in qkv]
  one, other = (cases.run(made, given, mask, block=block)[0][0] for given in (qkv, changed))
  assert np.abs(one - other).max() < 1e-6, "the output of row 0 changes when only row 1 of the batch does"


@contract
@each_grouping
def test_packed_rows_equal_rows_alone(kind, grouping):
  kv_heads, groups = cases.GROUPINGS[grouping]
  made, qkv, positions = cases.mechanism(kind, kv_heads, groups), cases.given(kind, kv_heads, groups), cases.packed()
  part, see_alone = (slice(0, 1), slice(5, 13)), cases.self_mask(rows(8))
  for scheme in cases.schemes(made, grouping):
    out, lse = cases.run(made, qkv, cases.self_mask(positions), scheme)
    alone, alone_lse = cases.run(made, [a[part] for a in qkv], see_alone, scheme)
    close(out[part], alone)
    assert (out[0, 13:] == 0).all()
    if lse is not None:
      close(lse[0:1, ..., 5:13], alone_lse)
      assert (lse[0, ..., 13:] == -np.inf).all()


@contract
@pytest.mark.parametrize(
  ("kind", "grouping"), [(kind, name) for kind in cases.able(state=False) for name in cases.groupings(kind)]
)
def test_a_rotated_ring_cache_with_an_empty_slot_equals_the_whole(kind, grouping):
  kv_heads, groups = cases.GROUPINGS[grouping]
  made, (q, k, v), positions = (
    cases.mechanism(kind, kv_heads, groups),
    cases.given(kind, kv_heads, groups),
    cases.packed(),
  )
  order = np.roll(np.arange(16), 5)

  def ring(a, filling):  # rotated, and one slot more that holds only rubbish
    return np.concatenate([a[1:, order], np.full_like(a[1:, :1], filling)], 1)

  mask = Mask(
    Positions(*(a[1:, 15:] for a in positions)),
    Positions(ring(positions.pos_BT, 3), ring(positions.segment_BT, 0)),
    causal(),
  )
  for scheme in cases.schemes(made, grouping):
    whole, _ = cases.run(made, (q, k, v), cases.self_mask(positions), scheme)
    last = cases.over_cache(made, (q[1:, 15:], ring(k, 7.0), ring(v, 7.0)), mask, scheme)
    close(last, whole[1:, 15:])


@contract
@pytest.mark.parametrize("kind", cases.able(state=True))
def test_token_by_token_with_a_state_of_constant_size_equals_the_whole(kind):
  (made, (q, k, v)), positions = made_for(kind), cases.packed()
  whole, _ = cases.run(made, (q, k, v), cases.self_mask(positions))
  for cuts in ([0, 1, 2, 3, 4, 7, 12, 16], list(range(17))):
    state, parts = made.start(2, k.shape[2], v.shape[-1], jnp.float32), []
    sizes = [leaf.shape for leaf in jax.tree.leaves(state)]
    for t in map(slice, cuts, cuts[1:]):
      out, state = made.advance(state, q[:, t], k[:, t], v[:, t], Mask(positions.at(t), positions.at(t), causal()))
      parts.append(out)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == sizes
    assert all(shape[0] == 2 for shape in sizes)
    close(np.concatenate(parts, 1), whole, atol=1e-5)


@contract
@pytest.mark.parametrize(
  ("kind", "grouping"), [(kind, name) for kind in cases.able(blockwise=True) for name in cases.groupings(kind)]
)
def test_blockwise_equals_dense(kind, grouping):
  kv_heads, groups = cases.GROUPINGS[grouping]
  made, qkv = cases.mechanism(kind, kv_heads, groups), cases.given(kind, kv_heads, groups)
  mask = cases.self_mask(cases.packed())
  for scheme in cases.schemes(made, grouping):
    dense = cases.run(made, qkv, mask, scheme)
    for got, expected in zip(cases.run(made, qkv, mask, scheme, block=5), dense, strict=True):
      assert (got is None) == (expected is None)
      if got is not None:
        close(got, expected)
    if grouping == "mha":  # blocks that divide, and one that holds more than all
      for block in (4, 64):
        close(cases.run(made, qkv, mask, scheme, block=block)[0], dense[0])


@contract
@pytest.mark.parametrize("kind", cases.able(blockwise=True))
def test_blockwise_gradients_equal_dense_gradients(kind):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.packed())
  target = cases.qkv(*cases.usual(kind), seed=9)[0]
  for dense, blockwise in zip(*(cases.solve(made, qkv, mask, target, block).grads for block in (None, 5)), strict=True):
    close(blockwise, dense, atol=2e-5)


@contract
@pytest.mark.parametrize(
  ("kind", "block"), [(kind, block) for kind in cases.able(cross=True) for block in cases.paths(kind)]
)
def test_a_query_that_sees_nothing_gives_zero_and_no_gradient(kind, block):
  made, qkv = made_for(kind)
  mask = Mask(
    cases.whole(), Positions(cases.whole().pos_BT, np.full((2, 16), 2)), everything()
  )  # keys of another segment
  if cases.SUPPORTS[kind].rules:
    mask = Mask(cases.whole(), cases.whole(start=2), causal())  # queries 0 and 1 stand before every key
  blind = np.zeros(qkv[0].shape)
  blind[:, : 2 if cases.SUPPORTS[kind].rules else 16] = 1.0
  first = cases.solve(made, qkv, mask, blind, block)
  assert (first.out[blind[..., 0] > 0] == 0).all()
  assert all((g == 0.0).all() for g in first.grads)
  if first.lse is not None:
    assert (first.lse[..., :2] == -np.inf).all()
  if first.weights is not None:
    assert (first.weights[..., :2, :] == 0).all()
  if cases.SUPPORTS[kind].rules:
    rest = cases.solve(made, qkv, mask, 1 - blind, block)
    assert (rest.grads[0][:, :2] == 0.0).all()
    assert all(np.isfinite(g).all() and (g != 0).any() for g in rest.grads)


@contract
@pytest.mark.parametrize("kind", cases.able(cross=True))
def test_the_order_of_keys_does_not_matter_and_that_of_queries_is_kept(kind):
  (made, (q, k, v)), positions = made_for(kind), cases.whole()
  rule = causal() if cases.SUPPORTS[kind].rules else everything()
  plain = cases.solve(made, (q, k, v), Mask(positions, positions, rule))
  order = np.random.default_rng(0).permutation(16)
  keys = cases.solve(made, (q, k[:, order], v[:, order]), Mask(positions, positions.at(order), rule))
  close(keys.out, plain.out)
  if plain.weights is not None:
    close(keys.weights, plain.weights[..., order])
  queries = cases.solve(made, (q[:, order], k, v), Mask(positions.at(order), positions, rule))
  close(queries.out, plain.out[:, order])


@contract
@pytest.mark.parametrize("kind", cases.able(weights="distribution"))
def test_weights_are_a_distribution_and_the_output_a_mean(kind):
  (made, (q, k, v)), mask = made_for(kind), cases.self_mask(cases.packed())
  solved = cases.solve(made, (q, k, v), mask)
  assert (solved.weights >= 0).all()
  close(solved.weights.sum(-1)[1], 1.0)
  close(np.einsum("bkgts,bskd->btkgd", solved.weights, v), solved.out)
  close(cases.solve(made, (q, k, np.full_like(v, 3.0)), mask).out[1], 3.0)


@contract
@pytest.mark.parametrize("kind", [kind for kind in cases.KINDS if cases.SUPPORTS[kind].weights != "none"])
def test_weights_are_zero_where_nothing_is_seen(kind):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.packed())
  weights_BKGTS = cases.solve(made, qkv, mask).weights
  assert (weights_BKGTS[~np.broadcast_to(mask.tile()[:, None, None], weights_BKGTS.shape)] == 0).all()
  assert (weights_BKGTS != 0).any()


@contract
@pytest.mark.parametrize("kind", cases.able(merges=True, cross=True))
def test_parts_of_the_keys_merge_to_the_whole(kind):
  (made, (q, k, v)), positions = made_for(kind), cases.packed()
  halves = (slice(0, 8), slice(8, 16))
  parts = [cases.run(made, (q, k[:, s], v[:, s]), Mask(positions, positions.at(s), causal())) for s in halves]
  whole = cases.solve(made, (q, k, v), cases.self_mask(positions))
  out, lse = merge(parts)
  close(out, whole.out)
  close(lse, whole.lse)


@contract
@each_kind
def test_a_log_sum_exp_comes_with_the_promise_to_merge(kind):
  made, qkv = made_for(kind)
  assert (cases.run(made, qkv, cases.self_mask(cases.packed()))[1] is not None) == made.supports.merges


@contract
@each_kind
def test_members_equal_members_alone(kind):
  qkv, mask, heads = cases.given(kind, *cases.usual(kind)), cases.self_mask(cases.packed()), 4

  def run(seed):
    make = lambda: build.make("attention", {"kind": kind}, heads=heads, head_dim=cases.D, layer=0)  # noqa: E731
    return cases.realize(make, seed)(*qkv, mask)[0]

  mapped = jax.jit(lambda seeds: jax.lax.map(run, seeds), compiler_options=AS_A_USER)
  together, alone = mapped(np.arange(3)), mapped(np.array([2]))
  if kind in SOFTMAX:
    np.testing.assert_array_equal(together[2], alone[0])
  else:  # a loop of one turn is no loop to the compiler, and sums of several parts then round in another order
    np.testing.assert_allclose(together[2], alone[0], rtol=1e-5, atol=1e-6)


@contract
@each_path
def test_bfloat16_stays_finite_and_near(kind, block):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.packed())
  halves = [(4 * a).astype(jnp.bfloat16) for a in qkv]
  solved = cases.solve(made, halves, mask, block=block)
  assert solved.out.dtype == jnp.bfloat16
  assert all(a is None or a.dtype == np.float32 for a in (solved.lse, solved.weights))
  exact = cases.solve(made, [a.astype(np.float32) for a in halves], mask).out
  worst = 0.15 * max(1.0, np.abs(exact).max() / 16)  # values reach 16; bfloat16 has 8 bits
  assert np.abs(solved.out.astype(np.float32) - exact).max() < worst
  assert all(g.dtype == jnp.bfloat16 and np.isfinite(g.astype(np.float32)).all() for g in solved.grads)


@contract
@each_path
def test_huge_scores_do_not_overflow(kind, block):
  made, (q, k, v) = made_for(kind)
  solved = cases.solve(made, (1e4 * q, 1e4 * k, v), cases.self_mask(cases.packed()), block=block)
  assert np.isfinite(solved.out).all()
  assert all(np.isfinite(g).all() for g in solved.grads)


@contract
@each_kind
def test_position_terms_act_where_supported_and_are_refused_elsewhere(kind):
  (made, qkv), mask = made_for(kind), cases.self_mask(cases.packed())
  plain, _ = cases.run(made, qkv, mask)
  for name, scheme in cases.terms(4, cases.D).items():
    if getattr(made.supports, name):
      assert np.abs(cases.run(made, qkv, mask, scheme)[0] - plain).max() > 0.01
    else:
      with pytest.raises(Refused, match=type(made).__name__) as caught:
        made(*qkv, mask, scheme)
      assert "\n" not in str(caught.value)


@contract
@each_kind
def test_rules_are_admitted_or_refused_as_promised(kind):
  made, _ = made_for(kind)
  for rule, can in ((causal(), "causal"), (everything(), "bidirectional"), (causal() & window(4), "rules")):
    if getattr(made.supports, can):
      made.check(rule=rule)
    else:
      with pytest.raises(Refused, match=type(made).__name__):
        made.check(rule=rule)


@contract
@each_kind
def test_unknown_options_and_impossible_blocks_are_refused(kind):
  with pytest.raises(Refused, match="no_such_option"):
    build.make("attention", {"kind": kind, "no_such_option": 1}, heads=2, head_dim=4, layer=0)
  made, qkv = made_for(kind)
  with pytest.raises(Refused, match="block=0"):
    made(*qkv, cases.self_mask(cases.packed()), block=0 if cases.SUPPORTS[kind].blockwise else 5)
