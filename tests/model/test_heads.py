"""Projections and heads: loops, ties, the ring cache, and what is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.errors import Refused
from model.heads import Heads
from model.initial import realize
from model.mask import Mask, Positions, causal, everything, rows
from tests.model import oracle

M = 12
POINTS = {  # heads, kv_heads, head_dim, value_dim, tie, bias
  "mha": {"heads": 3},
  "gqa": {"heads": 4, "kv_heads": 2, "head_dim": 3, "bias": True},
  "mqa": {"heads": 4, "kv_heads": 1, "value_dim": 5},
  "qk": {"heads": 2, "tie": "qk", "value_dim": 4, "bias": True},
  "kv": {"heads": 4, "kv_heads": 2, "tie": "kv", "bias": True},
  "qkv": {"heads": 3, "tie": "qkv"},
}


def heads(width=M, kind="dot", init=None, **options):
  """Drawn heads; biases are shaken, or they would hide behind 0."""
  made = realize(lambda: Heads(width, mechanism={"kind": kind}, **options), 0, init)
  rng = np.random.default_rng(0)
  for path, variable in nnx.to_flat_state(nnx.state(made, nnx.Param)):
    if str(path[-1]).endswith("bias"):
      variable[...] = jnp.asarray(rng.normal(size=variable.shape), jnp.float32)
  return made


def inputs(*shape, seed=1):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@jax.jit
def run(made, x_BTM, memory_BSM, mask, cache=None):
  record = []
  y_BTM, cache = made(x_BTM, memory_BSM, mask, cache=cache, record=record)
  return y_BTM, cache, {name: record[0][name] for name in ("weights_BKGTS", "out_BTKGD")}


def arrays(made):
  flat = nnx.to_flat_state(nnx.state(made))
  return {str(path[-1]): np.asarray(v[...]) for path, v in flat}


@pytest.mark.parametrize("kind", ["dot", "additive"])
@pytest.mark.parametrize("point", POINTS)
def test_equals_the_oracle_and_records_what_it_did(point, kind):
  made = heads(kind=kind, **POINTS[point])
  x_BTM, memory_BSM = inputs(2, 3, M), inputs(2, 4, M, seed=2)
  mask = Mask(rows(3, start=1), rows(4), causal())
  seen = oracle.seen(
    oracle.causal, *(np.broadcast_to(a, (2, a.shape[1])) for positions in (mask.q, mask.k) for a in positions)
  )
  numbers = arrays(made.mechanism)
  expected, weights = oracle.heads(
    getattr(oracle, kind), numbers, arrays(made), x_BTM, memory_BSM, seen, POINTS[point].get("tie", "none")
  )
  y_BTM, _, record = run(made, x_BTM, memory_BSM, mask)
  np.testing.assert_allclose(y_BTM, expected, rtol=1e-4, atol=2e-5)
  np.testing.assert_allclose(record["weights_BKGTS"], weights, rtol=1e-4, atol=1e-5)
  again = np.einsum("btkgd,kgdm->btm", record["out_BTKGD"], made.out[...])
  np.testing.assert_allclose(again + arrays(made).get("out_bias", 0.0), y_BTM, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("point", POINTS)
def test_parameters_are_those_the_point_says(point):
  options = POINTS[point]
  names = {"query", "key", "value", "out"}
  names -= {"qk": {"key"}, "kv": {"value"}, "qkv": {"key", "value"}}.get(options.get("tie"), set())
  if options.get("bias"):
    names |= {name + "_bias" for name in names}
  made = nnx.eval_shape(lambda: Heads(M, mechanism={"kind": "dot"}, **options))
  params = {str(path[-1]): v for path, v in nnx.to_flat_state(nnx.state(made, nnx.Param))}
  assert set(params) == names
  H = options["heads"]
  K, D = options.get("kv_heads", H), options.get("head_dim", M // H)
  Dv = options.get("value_dim", D)
  shapes = {"query": (M, K, H // K, D), "key": (M, K, D), "value": (M, K, Dv), "out": (K, H // K, Dv, M)}
  fans = {"query": (M, H * D), "key": (M, K * D), "value": (M, K * Dv), "out": (H * Dv, M)}
  for name in names & set(shapes):
    assert params[name].shape == shapes[name]
    assert (params[name].get_metadata("fan_in"), params[name].get_metadata("fan_out")) == fans[name]
    assert params[name].get_metadata("role") == name


def test_grouped_heads_equal_full_heads_with_repeated_keys():
  grouped, full = heads(heads=4, kv_heads=2), heads(heads=4)
  full.query[...] = grouped.query[...].reshape(M, 4, 1, 3)
  full.out[...] = grouped.out[...].reshape(4, 1, 3, M)
  for name in ("key", "value"):
    getattr(full, name)[...] = jnp.repeat(getattr(grouped, name)[...], 2, 1)
  x_BTM, mask = inputs(2, 5, M), Mask(rows(5), rows(5), causal())
  np.testing.assert_allclose(
    run(full, x_BTM, x_BTM, mask)[0], run(grouped, x_BTM, x_BTM, mask)[0], rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("point", ["mha", "gqa", "mqa", "qkv"])
def test_one_token_at_a_time_through_a_ring_equals_the_whole(point):
  made = heads(**POINTS[point])
  x_BTM = inputs(2, 7, M)
  whole = run(made, x_BTM, x_BTM, Mask(rows(7), rows(7), causal()))[0]
  for slots in (7, 9):  # exactly full, and with empty slots
    cache, steps = made.empty_cache(2, slots), []
    for t in range(7):
      positions = Positions(np.full((1, 1), t, np.int32), np.ones((1, 1), np.int32))
      y_B1M, cache, _ = run(made, x_BTM[:, t : t + 1], x_BTM[:, t : t + 1], Mask(positions, positions, causal()), cache)
      steps.append(y_B1M)
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_full_ring_forgets_the_oldest_and_rows_keep_their_own_index():
  made = heads(heads=3)
  x_BTM = inputs(2, 7, M)
  cache = made.empty_cache(2, 4)
  for t in range(7):
    positions = Positions(np.full((1, 1), t, np.int32), np.ones((1, 1), np.int32))
    y_B1M, cache, _ = run(made, x_BTM[:, t : t + 1], x_BTM[:, t : t + 1], Mask(positions, positions, causal()), cache)
  mask = Mask(rows(1, start=6), rows(4, start=3), causal())
  np.testing.assert_allclose(y_B1M, run(made, x_BTM[:, 6:], x_BTM[:, 3:], mask)[0], rtol=1e-4, atol=1e-5)
  assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(cache))
  np.testing.assert_array_equal(cache["index"], [3, 3])
  np.testing.assert_array_equal(np.sort(cache["where"].pos_BT), [[3, 4, 5, 6]] * 2)
  swapped = jax.tree.map(lambda leaf: leaf[::-1], cache)  # rows may be reordered, as beams are
  y_swapped = run(made, x_BTM[::-1, 6:], None, Mask(rows(1, start=6), None, causal()), swapped)[0]
  np.testing.assert_allclose(y_swapped[::-1], y_B1M, rtol=1e-5, atol=1e-6)


def test_an_empty_cache_gives_zero():
  made = heads(heads=3)
  y_BTM, _, _ = run(made, inputs(2, 1, M), None, Mask(rows(1), None, causal()), made.empty_cache(2, 4))
  assert (np.asarray(y_BTM) == 0).all()


def test_blocks_change_nothing_and_bfloat16_stays_bfloat16():
  dense, blockwise = heads(heads=4, kv_heads=2), heads(heads=4, kv_heads=2, block=3)
  x_BTM, mask = inputs(2, 7, M), Mask(rows(7), rows(7), causal())
  y_BTM = run(dense, x_BTM, x_BTM, mask)[0]
  np.testing.assert_allclose(run(blockwise, x_BTM, x_BTM, mask)[0], y_BTM, rtol=1e-4, atol=1e-5)
  half_BTM = x_BTM.astype(jnp.bfloat16)
  low_BTM = run(dense, half_BTM, half_BTM, mask)[0]
  assert low_BTM.dtype == jnp.bfloat16
  assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(nnx.state(dense)))
  np.testing.assert_allclose(low_BTM.astype(np.float32), y_BTM, atol=0.1)


@pytest.mark.parametrize(
  ("options", "text"),
  [
    ({"heads": 5}, "head_dim"),
    ({"heads": 0}, "heads=0"),
    ({"heads": 4, "kv_heads": 3}, "multiple of kv_heads"),
    ({"heads": 4, "tie": "vk"}, "none, qk, kv, qkv"),
    ({"heads": 4, "kv_heads": 2, "tie": "qk"}, "as many keys"),
    ({"heads": 4, "value_dim": 5, "tie": "kv"}, "as wide as keys"),
  ],
)
def test_mistakes_are_refused_in_one_line(options, text):
  with pytest.raises(Refused, match=text) as caught:
    Heads(M, mechanism={"kind": "dot"}, **options)
  assert "\n" not in str(caught.value)


def test_too_many_keys_for_the_cache_or_none_at_all_are_refused():
  made, x_BTM = heads(heads=3), inputs(2, 5, M)
  with pytest.raises(Refused, match="4 slots"):
    made(x_BTM, x_BTM, Mask(rows(5), rows(5), causal()), cache=made.empty_cache(2, 4))
  with pytest.raises(Refused, match="neither"):
    made(x_BTM, None, Mask(rows(5), rows(5), causal()))


def test_attention_without_projections_is_luongs_dot():
  made = realize(lambda: Heads(M, heads=1, projections="", mechanism={"kind": "dot", "scale": 1.0}))
  x_BTM, memory_BSM = inputs(2, 3, M), inputs(2, 5, M)
  y_BTM, _ = made(x_BTM, memory_BSM, Mask(rows(3), rows(5), everything()))
  score_BTS = np.einsum("btm,bsm->bts", x_BTM, memory_BSM)
  share_BTS = np.exp(score_BTS - score_BTS.max(-1, keepdims=True))
  share_BTS /= share_BTS.sum(-1, keepdims=True)
  np.testing.assert_allclose(y_BTM, np.einsum("bts,bsm->btm", share_BTS, memory_BSM), atol=1e-5)
  assert not jax.tree.leaves(nnx.state(made, nnx.Param))


def test_each_projection_can_be_left_out():
  names = {"q": "query", "k": "key", "v": "value", "o": "out"}
  for kept in ("k", "qk", "kv", "qkv", "qkvo"):
    made = realize(lambda kept=kept: Heads(M, heads=2, projections=kept, mechanism={"kind": "dot"}))
    found = {path[0] for path, _ in nnx.to_flat_state(nnx.state(made, nnx.Param))}
    assert found == {names[letter] for letter in kept}
    y_BTM, _ = made(inputs(2, 3, M), inputs(2, 3, M), Mask(rows(3), rows(3), everything()))
    assert y_BTM.shape == (2, 3, M)


@pytest.mark.parametrize(
  "options",
  [
    {"projections": "vk"},
    {"projections": "x"},
    {"projections": "qkv", "head_dim": 3},
    {"projections": "qv", "tie": "qk"},
  ],
  ids=str,
)
def test_projections_that_cannot_be_left_out_are_refused(options):
  with pytest.raises(Refused, match="projections"):
    Heads(M, heads=2, mechanism={"kind": "dot"}, **options)
