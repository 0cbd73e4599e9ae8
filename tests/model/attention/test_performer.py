"""Performer: its features have no bias and the published error, and it is linear attention with them."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from model import build, initial
from model.errors import Refused
from model.mask import Mask, causal, everything, window
from tests.model import oracle
from tests.model.attention import cases, oracles_linear, test_linear
from tests.model.attention.test_linear import close


def make(head_dim=8, **options):
  return build.make("attention", {"kind": "performer", **options}, heads=1, head_dim=head_dim, layer=0)


@functools.partial(jax.jit, static_argnames=("draws", "head_dim", "options"))
def _draws(draws, head_dim, options):
  return jax.vmap(lambda seed: initial.realize(lambda: make(head_dim, **dict(options)), seed).directions())(
    np.arange(draws)
  )


@functools.cache
def directions(draws, head_dim=8, **options):
  """Directions of independent draws, (draws, m, D), in float64."""
  return np.asarray(_draws(draws, head_dim, tuple(options.items())), np.float64)


def estimates(w_NFD, q_D, k_D):
  """Of exp(q.k / sqrt(D)) by each draw."""
  q_D, k_D = (a / len(q_D) ** 0.25 for a in (q_D, k_D))
  power_NF = w_NFD @ (q_D + k_D) - (q_D @ q_D + k_D @ k_D) / 2
  return np.exp(power_NF).mean(-1)


def pairs(count=6, head_dim=8):
  """Short vectors: the estimate's tail grows as exp(|q + k|^2), and with it the draws that a variance takes."""
  rng = np.random.default_rng(5)
  return [0.3 * rng.normal(size=(2, head_dim)) for _ in range(count)]


@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_kernel_has_no_bias(orthogonal):
  w_NFD = directions(4000, features=12, orthogonal=orthogonal)  # a block and a half
  for q_D, k_D in pairs():
    found, exact = estimates(w_NFD, q_D, k_D), np.exp(q_D @ k_D / np.sqrt(8))
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found))
  # Each direction alone is standard normal, whatever its place in its block.
  bound = 5 / np.sqrt(len(w_NFD))
  assert np.abs(w_NFD.mean(0)).max() < bound
  assert np.abs(np.einsum("nfd,nfe->fde", w_NFD, w_NFD) / len(w_NFD) - np.eye(8)).max() < 2 * bound


def test_directions_of_a_block_are_orthogonal_with_the_lengths_of_normal_vectors():
  w_NFD = directions(4000, features=12, orthogonal=True)
  angles_NFF = np.einsum("nfd,ned->nfe", w_NFD, w_NFD)
  lengths_NF = np.sqrt(np.diagonal(angles_NFF, axis1=1, axis2=2))
  cosines_NFF = angles_NFF / lengths_NF[:, :, None] / lengths_NF[:, None]
  block = np.arange(12) // 8
  inside = (block[:, None] == block) & ~np.eye(12, dtype=bool)
  assert np.abs(cosines_NFF[:, inside]).max() < 1e-5
  assert np.abs(cosines_NFF[:, block[:, None] != block]).mean() > 0.2  # blocks know nothing of each other
  squares_NF = lengths_NF**2  # chi squared with 8 degrees of freedom: mean 8, variance 16, independent
  np.testing.assert_allclose(squares_NF.mean(0), 8, rtol=0.05)
  np.testing.assert_allclose(np.cov(squares_NF.T), 16 * np.eye(12), atol=2.0)


def test_the_error_falls_with_the_square_root_of_the_features():
  features = np.array([16, 128, 1024])
  errors = []
  for m in features:
    w_NFD = directions(100, features=int(m))
    relative = [estimates(w_NFD, q, k) / np.exp(q @ k / np.sqrt(8)) - 1 for q, k in pairs()]
    errors.append(np.sqrt(np.mean(np.square(relative))))
  slope = np.polyfit(np.log(features), np.log(errors), 1)[0]
  assert -0.65 <= slope <= -0.35


def test_orthogonal_directions_have_the_smaller_error():
  squares = {}
  for orthogonal in (True, False):
    w_NFD = directions(4000, features=12, orthogonal=orthogonal)[:, :8]  # one block
    squares[orthogonal] = np.mean([np.square(estimates(w_NFD, q, k) - np.exp(q @ k / np.sqrt(8))) for q, k in pairs()])
  assert squares[True] < 0.9 * squares[False]


def test_with_many_features_it_is_dot_attention():
  (q, k, v), positions = cases.qkv(2, 2, head_dim=4), cases.packed()
  qkv = 0.3 * q, 0.3 * k, v  # short, as in pairs()
  made = cases.mechanism("performer", 2, 2, head_dim=4, features=16384, chunk=8)
  dot = cases.mechanism("dot", 2, 2, head_dim=4)
  for rule in (causal(), everything()):
    mask = Mask(positions, positions, rule)
    (out, lse), (exact, exact_lse) = jax.jit(lambda qkv, mask=mask: (made(*qkv, mask), dot(*qkv, mask)))(qkv)
    assert np.abs(out - exact).max() < 0.05
    seen = np.isfinite(exact_lse)
    assert np.abs(lse[seen] - exact_lse[seen]).max() < 0.05  # the kernel itself, not only its shares


def test_equals_the_oracle():
  made = cases.mechanism("performer", 2, 2, chunk=5, features=11)
  qkv, positions = cases.qkv(2, 2, value_dim=3), cases.packed()
  seen = oracle.seen(oracle.causal, *positions, *positions)
  expected = oracles_linear.performer(made, *qkv, seen)
  close(jax.jit(lambda qkv: made(*qkv, Mask(positions, positions, causal()))[0])(qkv), expected, atol=1e-5)


def test_chunks_sorting_and_the_dense_path_agree_with_finite_differences():
  test_linear.check_routes(cases.mechanism("performer", 2, 2, chunk=5, features=11), "causal")


def test_the_future_changes_no_bit_of_the_past():
  test_linear.check_future(cases.mechanism("performer", 2, 2, chunk=5, features=11), 0.01)


def test_decoding_with_a_state_of_constant_size_equals_the_whole_row():
  test_linear.check_steps(cases.mechanism("performer", 2, 2, chunk=4, features=11))


def test_no_array_grows_with_the_square_of_the_length():
  test_linear.check_growth(cases.mechanism("performer", 1, 1, chunk=32, features=8), ["causal"])


def test_long_keys_neither_overflow_nor_vanish():
  """Keys whose features leave the range of float32, each in its own chunk: shares stay those of float64."""
  made = cases.mechanism("performer", 1, 1, chunk=2, features=16)
  q, k, v = cases.qkv(1, 1)
  k = k * np.geomspace(15, 1, 16, dtype=np.float32)[:, None, None]  # the first features are far below exp(-87)
  mask, positions = Mask(cases.whole(), cases.whole(), causal()), cases.whole()
  out, grads = jax.jit(lambda qkv: (made(*qkv, mask)[0], jax.grad(lambda qkv: made(*qkv, mask)[0].sum())(qkv)))(
    (q, k, v)
  )
  expected = oracles_linear.performer(made, q, k, v, oracle.seen(oracle.causal, *positions, *positions))
  assert (np.abs(out[:, 0] - v[:, 0][:, :, None]) < 1e-5).all()  # alone, however small its weight
  np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)  # powers near -300 have few digits left
  assert all(np.isfinite(g).all() for g in grads)


def test_directions_change_every_so_many_steps_and_only_then():
  def drawn(redraw):
    abstract = nnx.eval_shape(lambda: make(4, features=4, redraw=redraw))
    graph = nnx.graphdef(abstract)
    at = lambda step: nnx.merge(graph, initial.settings(abstract, key=jax.random.key(3), step=step)).directions()  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(at))(np.arange(10, dtype=np.uint32)))

  w_SFD = drawn(redraw=4)
  changes = np.flatnonzero((w_SFD[1:] != w_SFD[:-1]).any((1, 2))) + 1
  np.testing.assert_array_equal(changes, [4, 8])
  assert len({w.tobytes() for w in w_SFD}) == 3
  assert (drawn(redraw=0) == drawn(redraw=0)[0]).all()


def test_the_default_number_of_features_and_what_is_refused():
  assert make(16, features=0).features == round(16 * np.log(16))
  assert make(1, features=0).features == 1
  made, qkv, positions = cases.mechanism("performer", 2, 2), cases.qkv(2, 2), cases.packed()
  assert made.supports.rotate
  made.check(build.make("position", {"kind": "rope"}, width=8, heads=1, head_dim=8), causal())
  for call in (
    lambda: make(features=-1),
    lambda: make(redraw=-1),
    lambda: make(chunk=0),
    lambda: made(*qkv, Mask(positions, positions, window(4))),
    lambda: made(*qkv, Mask(positions, positions, causal()), cases.After(4)),
    lambda: made(*qkv, Mask(positions, positions, causal()), block=4),
  ):
    with pytest.raises(Refused, match="erformer attention") as caught:
      call()
    assert "\n" not in str(caught.value)
