"""Differential attention: two distributions, one taken from the other; rotations, weights and the norm."""

import functools
import math

import jax
import numpy as np
import pytest

from model import build
from model.errors import Refused
from model.heads import Heads
from model.initial import realize
from model.mask import Mask, Positions, causal, everything
from tests.model import oracle
from tests.model.attention import cases, oracles_linear


def close(a, b, atol=5e-6):
  np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=atol)


def make(layer=0, heads=4, head_dim=8):
  return build.make("attention", {"kind": "differential"}, heads=heads, head_dim=head_dim, layer=layer)


def shaken(layer=0, head_dim=8):
  """A mechanism whose factor is well above its start."""
  made = realize(lambda: make(layer, head_dim=head_dim), 1)
  made.lambda_q1[...] = 3 * made.lambda_q1[...]
  made.lambda_k1[...] = 3 * np.abs(made.lambda_k1[...]) * np.sign(made.lambda_q1[...])
  return made


@functools.partial(jax.jit, static_argnames="block")
def _solved(made, qkv, mask, scheme, target, block):
  def loss(qkv):
    out, _ = made(*qkv, mask, scheme, block=block)
    return (out * target).sum(), out

  grads, out = jax.grad(loss, has_aux=True)(qkv)
  return out, grads


def solved(made, qkv, mask, scheme=None, target=1.0, block=None):
  return jax.device_get(_solved(made, tuple(qkv), mask, scheme, np.asarray(target, qkv[0].dtype), block))


@pytest.mark.parametrize("rule", ["causal", "everything"])
def test_equals_the_oracle(rule):
  made, rng = shaken(layer=2), np.random.default_rng(0)
  qkv = cases.qkv(2, 2, queries=9, keys=13, value_dim=6)
  q_positions, k_positions = (
    Positions(rng.integers(0, 6, (2, n)).astype(np.int32), rng.integers(0, 3, (2, n)).astype(np.int32)) for n in (9, 13)
  )
  seen = oracle.seen(getattr(oracle, rule), *q_positions, *k_positions)
  mask = Mask(q_positions, k_positions, {"causal": causal(), "everything": everything()}[rule])
  out, grads = solved(made, qkv, mask)
  close(out, oracles_linear.differential(made, *qkv, seen))
  blind = ~seen.any(-1)
  assert blind.any()
  assert (out[blind] == 0).all()
  assert (grads[0][blind] == 0).all()
  assert all(np.isfinite(g).all() for g in grads)


def test_the_factor_starts_at_the_papers_numbers():
  assert [round(make(layer).lambda_init, 4) for layer in (0, 1, 2, 27)] == [0.2, 0.3555, 0.4707, 0.7998]
  vectors = np.concatenate(
    [np.asarray(v[...]) for made in [realize(lambda: make(head_dim=512), 0)] for v in (made.lambda_q1, made.lambda_k2)]
  )
  assert vectors.std() == pytest.approx(0.1, rel=0.15)
  made = shaken(layer=1)
  first, second = (
    float(np.dot(q[...], k[...])) for q, k in ((made.lambda_q1, made.lambda_k1), (made.lambda_q2, made.lambda_k2))
  )
  expected = math.exp(first) - math.exp(second) + 0.8 - 0.6 * math.exp(-0.3)
  assert float(made.factor()) == pytest.approx(expected, rel=1e-5)
  assert abs(expected - made.lambda_init) > 0.1


def test_equal_halves_are_dot_attention_in_unit_size():
  """With q1 = q2 and k1 = k2 the difference is (1 - lambda) softmax; the norm takes the factor away."""
  q, k, v = cases.qkv(2, 2)
  mask = cases.self_mask(cases.packed())
  made, dot = realize(make, 0), cases.mechanism("dot", 2, 2, head_dim=4)
  out, _ = solved(made, (np.repeat(q[..., :4], 2, -1), np.repeat(k[..., :4], 2, -1), v), mask)
  left = (1 - float(made.factor())) * cases.run(dot, (q[..., :4], k[..., :4], v), mask)[0]
  close(out, 0.8 * left / np.sqrt(np.mean(left**2, -1, keepdims=True) + 1e-5))


def test_the_output_has_the_size_one_minus_the_start_in_every_head():
  for layer in (0, 4):
    made = shaken(layer)
    q, k, v = cases.qkv(2, 2)
    out, _ = solved(made, (q, k, 30 * v), cases.self_mask(cases.whole()))
    close(np.sqrt(np.mean(out**2, -1)), 1 - made.lambda_init, atol=1e-3)


def test_weights_are_the_signed_difference_that_the_output_is_taken_from():
  made, (q, k, v), mask = shaken(), cases.qkv(2, 2), cases.self_mask(cases.packed())
  assert made.supports.weights == "signed"
  weights = np.asarray(jax.jit(lambda q, k: made.weights(q, k, mask))(q, k))
  assert (weights < 0).any()
  close(weights.sum(-1)[1], 1 - float(made.factor()))
  assert (weights[0, ..., 13:, :] == 0).all()
  mixed = np.einsum("bkgts,bskd->btkgd", weights, v)
  normed = (1 - made.lambda_init) * mixed / np.sqrt(np.mean(mixed**2, -1, keepdims=True) + 1e-5)
  close(solved(made, (q, k, v), mask)[0], normed, atol=2e-5)


def test_by_blocks_it_is_the_same_with_every_term_it_has_a_place_for():
  made, qkv, mask = shaken(), cases.qkv(2, 2), cases.self_mask(cases.packed())
  target = cases.qkv(2, 2, seed=9)[0]
  terms = AfterAndValues()
  dense, blocks = (solved(made, qkv, mask, terms, target, block) for block in (None, 5))
  for ours, theirs in zip(jax.tree.leaves(blocks), jax.tree.leaves(dense), strict=True):
    close(ours, theirs, atol=5e-5)
  assert np.abs(dense[0] - solved(made, qkv, mask, None, target)[0]).max() > 0.01
  with pytest.raises(Refused, match="Differential attention"):
    made(*qkv, mask, cases.Inside(cases.D))


class AfterAndValues(cases.After):
  """A term of the score and one of the output."""

  def __init__(self):
    super().__init__(4)
    self.output = cases.Values(cases.D)

  def values(self, w_BKGTS, q_positions, k_positions):
    return self.output.values(w_BKGTS, q_positions, k_positions)


def test_gradients_agree_with_finite_differences():
  made, mask, rng = shaken(layer=1), cases.self_mask(cases.packed()), np.random.default_rng(0)
  with jax.enable_x64(True):
    qkv = cases.qkv(2, 2, dtype=np.float64)
    target = rng.normal(size=qkv[0].shape)
    _, grads = solved(made, qkv, mask, None, target)
    steps = [1e-6 * rng.normal(size=a.shape) for a in qkv]
    sides = [solved(made, [a + s * d for a, d in zip(qkv, steps, strict=True)], mask, None, target)[0] for s in (1, -1)]
    slope = sum((g * d).sum() for g, d in zip(grads, steps, strict=True))
    assert ((sides[0] - sides[1]) / 2 * target).sum() == pytest.approx(slope, rel=1e-5)


ROTATING = [kind for kind in build.kinds("position") if build.resolve("position", kind).acts("rotate")]


@pytest.mark.parametrize("kind", ROTATING)
def test_each_half_turns_as_a_head_of_its_own(kind):
  """Equal halves stay equal, whatever their position; and each is what a head of half the width would be."""
  made, k, positions = shaken(), cases.qkv(2, 2)[1], cases.whole(start=40)
  whole, half = (build.make("position", {"kind": kind}, width=8, heads=4, head_dim=d) for d in (8, 4))
  turned = np.asarray(made.turn(k, positions, whole))
  for part in (0, 1):
    np.testing.assert_array_equal(turned[..., part::2], half.rotate(k[..., part::2], positions))
  alike = np.asarray(made.turn(np.repeat(k[..., :4], 2, -1), positions, whole))
  np.testing.assert_array_equal(alike[..., ::2], alike[..., 1::2])
  assert np.abs(turned - k).max() > 0.1


@pytest.mark.parametrize("kind", ROTATING)
def test_heads_with_equal_halves_under_positions_are_dot_attention_of_half_the_width(kind):
  """Through the projections, as a model has it: what is taken away is a share of what is there."""
  x, mask = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32), cases.self_mask(cases.whole())

  def heads(mechanism, head_dim):
    scheme = build.make("position", {"kind": kind}, width=16, heads=2, head_dim=head_dim)
    options = {"heads": 2, "head_dim": head_dim, "value_dim": 8, "projections": "qkv", "mechanism": {"kind": mechanism}}
    return realize(lambda: Heads(16, **options), 3), scheme

  (differential, scheme), (dot, half) = heads("differential", 8), heads("dot", 4)
  for name in ("query", "key"):
    getattr(differential, name)[...] = np.repeat(getattr(dot, name)[...], 2, -1)
  differential.value[...] = dot.value[...]
  left, _ = dot(x, x, mask, scheme=half)
  left = (1 - float(differential.mechanism.factor())) * np.asarray(left).reshape(2, 16, 2, 8)
  expected = 0.8 * left / np.sqrt(np.mean(left**2, -1, keepdims=True) + 1e-5)
  close(differential(x, x, mask, scheme=scheme)[0], expected.reshape(2, 16, 16), atol=5e-5)


def test_only_distances_count_when_halves_are_turned():
  made, (q, k, v) = shaken(), cases.qkv(2, 2)
  rope = build.make("position", {"kind": "rope"}, width=8, heads=4, head_dim=8)

  def at(start):
    positions = cases.whole(start)
    turned = made.turn(q.reshape(2, 16, 4, 8), positions, rope).reshape(q.shape), made.turn(k, positions, rope)
    return solved(made, (*map(np.asarray, turned), v), cases.self_mask(positions))[0]

  near = at(0)
  close(at(37), near, atol=5e-5)
  still, _ = solved(made, (q, k, v), cases.self_mask(cases.whole()))
  assert np.abs(near - still).max() > 0.01


def test_odd_heads_are_refused_and_so_are_rotated_ones_that_cut_a_plane():
  rope = build.make("position", {"kind": "rope"}, width=6, heads=1, head_dim=6)
  for call, word in ((lambda: make(head_dim=7), "head_dim=7"), (lambda: make(head_dim=6).check(rope), "multiple of 4")):
    with pytest.raises(Refused, match=word) as caught:
      call()
    assert "\n" not in str(caught.value)
  make(head_dim=6).check(build.make("position", {"kind": "none"}, width=6, heads=1, head_dim=6))
