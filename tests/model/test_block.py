"""Blocks: what the wirings are when a sublayer is silent, dropout's statistics, parity with torch's encoder layer."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings, strategies

from model import build
from model.block import Block, LayerNorm
from model.dropout import Dropout
from model.errors import Refused
from model.mask import Mask, everything, rows
from tests.model import tiny

WIDTH, LENGTH = 16, 5
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, LENGTH, WIDTH)) * 2 + 1, jnp.float32)
SEE = Mask(rows(LENGTH), rows(LENGTH), everything())
WIRINGS = list(itertools.product(("pre", "post", "none"), (True, False)))


def block(**options):
  complete = build.complete({"width": WIDTH, "heads": 4, **options})
  return tiny.realize(lambda: Block(complete, layer=0), 1)


def silence(module):
  """All matrices zero: every sublayer answers 0; gains stay 1."""
  for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Param)):
    if "norm" not in "/".join(map(str, path)):
      holder = module
      for name in path[:-1]:
        holder = getattr(holder, name)
      getattr(holder, path[-1])[...] = jnp.zeros_like(variable[...])
  return module


@pytest.mark.parametrize(("norm", "residual"), WIRINGS)
def test_silent_sublayers_leave_the_wiring(norm, residual):
  module = silence(block(wiring={"norm": norm, "residual": residual}))
  y, _ = module(X, SEE)
  expected = X if residual else jnp.zeros_like(X)
  if norm == "post":
    inner = module.attention_norm(expected)
    expected = module.feedforward_norm(inner if residual else 0 * inner)
  np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize(("norm", "residual"), WIRINGS)
def test_wiring_is_its_formula(norm, residual):
  module = block(wiring={"norm": norm, "residual": residual})
  x = X
  for ln, f in (
    (module.attention_norm, lambda h: module.attention(h, h, SEE)[0]),
    (module.feedforward_norm, module.feedforward),
  ):
    y = f(ln(x)) if norm == "pre" else f(x)
    y = x + y if residual else y
    x = ln(y) if norm == "post" else y
  np.testing.assert_allclose(module(X, SEE)[0], x, atol=1e-5)


def test_no_feedforward_means_no_sublayer():
  module = block(feedforward={"kind": "none"}, wiring={"norm": "post", "residual": False})
  assert module.feedforward is None
  assert module.feedforward_norm is None
  np.testing.assert_allclose(module(X, SEE)[0], module.attention_norm(module.attention(X, X, SEE)[0]), atol=1e-6)


def test_layer_norm_ignores_shift_and_scale():
  norm = tiny.realize(lambda: LayerNorm(WIDTH))
  norm.gain[...], norm.bias[...] = jnp.ones(WIDTH), jnp.zeros(WIDTH)
  np.testing.assert_allclose(norm(X).mean(-1), 0, atol=1e-6)
  np.testing.assert_allclose(norm(X).var(-1), 1, atol=1e-4)
  np.testing.assert_allclose(norm(3 * X + 100), norm(X), atol=1e-4)
  assert norm(X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.peer
@pytest.mark.parametrize("eps", [1e-6, 1e-5, 0.1])
def test_layer_norm_equals_torchs_where_its_eps_is_felt(eps):
  torch = pytest.importorskip("torch")
  made, peer = tiny.realize(lambda: LayerNorm(WIDTH, eps=eps), 1), torch.nn.LayerNorm(WIDTH, eps=eps)
  with torch.no_grad():
    peer.weight.copy_(torch.tensor(np.array(made.gain[...])))
    peer.bias.copy_(torch.tensor(np.array(made.bias[...])))
  size_T1 = np.array([[0.0], [1e-4], [1e-3], [1e-2], [1.0]], np.float32)  # their variances lie around eps
  for x in (X * size_T1, np.float32(3.0) + 0 * X):
    theirs = torch.tensor(np.array(x), requires_grad=True)
    y = peer(theirs)
    (y * torch.tensor(np.array(X))).sum().backward()
    ours, gradient = jax.value_and_grad(lambda x: (made(x) * X).sum())(x)
    np.testing.assert_allclose(made(x), y.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours, (y.detach().numpy() * X).sum(), rtol=1e-4)
    np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-3, atol=1e-3)


@given(
  eps=strategies.sampled_from([1e-6, 1e-3]),
  size=strategies.sampled_from([0.0, 1e-20, 1e-3, 1.0, 1e4]),
  shift=strategies.sampled_from([0.0, 1.0, 1e4]),
)
def test_the_slope_of_layer_norm_is_at_most_one_over_the_root_of_eps(eps, size, shift):
  """The formula's own bound, reached by a constant row; what comes back is no longer than that times what went in."""
  norm, given_BTM = LayerNorm(WIDTH, eps=eps), np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
  norm.gain[...] = jnp.ones(WIDTH)
  back_BTM = np.asarray(jax.grad(lambda x: (norm(x) * given_BTM).sum())(size * X + shift))
  lengths = np.linalg.norm(back_BTM, axis=-1), np.linalg.norm(given_BTM, axis=-1)
  assert (lengths[0] <= 1.001 * eps**-0.5 * lengths[1]).all()


@pytest.mark.parametrize("kind", ["gpt", "seq2seq"])
def test_every_norm_has_the_eps_that_is_asked_for(kind):
  for asked in ({"eps": 1e-3}, {}):
    made = tiny.model(kind, wiring={"norm": "pre", **asked})
    found = [module.eps for _, module in nnx.iter_modules(made) if isinstance(module, LayerNorm)]
    assert found == [asked.get("eps", 1e-6)] * (5 if kind == "gpt" else 12)


@pytest.mark.parametrize("eps", [0.0, -1e-6, float("inf"), float("nan")])
def test_an_eps_that_is_not_above_zero_is_refused(eps):
  with pytest.raises(Refused, match=r"model\.wiring\.eps") as caught:
    block(wiring={"eps": eps})
  assert "\n" not in str(caught.value)


@settings(max_examples=10, deadline=None)
@given(rate=strategies.floats(0.0, 0.95), seed=strategies.integers(0, 1000))
def test_dropout_keeps_the_mean_and_takes_a_traced_rate(rate, seed):
  graphdef, state = nnx.split(Dropout(0.5))
  ones = jnp.ones((100, 200))
  y = jax.jit(lambda r, k: nnx.merge(graphdef, jax.tree.map(lambda _: r, state))(ones, k))(
    jnp.float32(rate), jax.random.key(seed)
  )
  keep = 1 - rate
  assert np.isin(np.unique(np.round(np.asarray(y) * keep, 5)), (0.0, 1.0)).all()
  assert abs(float(y.mean()) - 1) < 6 * (rate / keep / ones.size) ** 0.5 + 1e-5


def test_dropout_is_off_in_evaluation_and_absent_at_zero():
  assert block(dropout=0.0).dropout is None
  module = block(dropout=0.5)
  np.testing.assert_array_equal(module(X, SEE)[0], block()(X, SEE)[0])
  one, two = (module(X, SEE, key=jax.random.key(k))[0] for k in (0, 1))
  assert jnp.abs(one - two).max() > 0.1


def test_dropout_spares_the_residual():
  module = silence(block(dropout=0.9))
  np.testing.assert_array_equal(module(X, SEE, key=jax.random.key(0))[0], X)


@pytest.mark.peer
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(("kind", "eps"), [("relu", 1e-6), ("gelu", 1e-5)])
def test_equals_torchs_encoder_layer(norm, kind, eps):
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  peer = torch.nn.TransformerEncoderLayer(
    WIDTH, 4, 32, 0.0, kind, layer_norm_eps=eps, batch_first=True, norm_first=norm == "pre"
  )
  with torch.no_grad():
    for weight in peer.parameters():
      weight.copy_(torch.randn_like(weight) * 0.3)
  wiring = {"norm": norm, "residual": True, "eps": eps}
  module = block(bias=True, wiring=wiring, feedforward={"kind": kind, "hidden": 32})
  w = {name: weight.detach().numpy() for name, weight in peer.named_parameters()}
  heads, head_dim = 4, WIDTH // 4
  attention = module.attention
  for i, name in enumerate(("query", "key", "value")):
    rows_ = slice(i * WIDTH, (i + 1) * WIDTH)
    kernel, bias = getattr(attention, name), getattr(attention, name + "_bias")
    kernel[...] = jnp.asarray(w["self_attn.in_proj_weight"][rows_].T.reshape(kernel.shape))
    bias[...] = jnp.asarray(w["self_attn.in_proj_bias"][rows_].reshape(bias.shape))
  attention.out[...] = jnp.asarray(w["self_attn.out_proj.weight"].T.reshape(heads, 1, head_dim, WIDTH))
  attention.out_bias[...] = jnp.asarray(w["self_attn.out_proj.bias"])
  for ours, theirs in ((module.feedforward.up, "linear1"), (module.feedforward.down, "linear2")):
    ours.kernel[...], ours.bias[...] = jnp.asarray(w[theirs + ".weight"].T), jnp.asarray(w[theirs + ".bias"])
  for ours, theirs in ((module.attention_norm, "norm1"), (module.feedforward_norm, "norm2")):
    ours.gain[...], ours.bias[...] = jnp.asarray(w[theirs + ".weight"]), jnp.asarray(w[theirs + ".bias"])
  with torch.no_grad():
    expected = peer(torch.from_numpy(np.array(X))).numpy()
  np.testing.assert_allclose(module(X, SEE)[0], expected, atol=3e-5)
