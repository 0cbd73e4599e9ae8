"""Feed-forward sublayers: numpy oracles, position-wise by Jacobian, bfloat16, sizes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.errors import Refused
from tests.model import tiny

WIDTH, HIDDEN = 6, 10
KINDS = [kind for kind in build.kinds("feedforward") if kind != "none"]


def realize(kind, **options):
  return tiny.realize(lambda: build.make("feedforward", {"kind": kind, **options}, width=WIDTH), 3)


def oracle(kind, module, x):
  """The formula of each paper, one scalar at a time where it is not a matrix product."""
  w = {
    "/".join(map(str, p)): np.asarray(v[...], np.float64) for p, v in nnx.to_flat_state(nnx.state(module, nnx.Param))
  }
  if kind == "swiglu":
    silu = np.vectorize(lambda h: h / (1 + math.exp(-h)))
    return (silu(x @ w["gate/kernel"]) * (x @ w["up/kernel"])) @ w["down/kernel"]
  act = {
    "identity": lambda h: h,
    "relu": lambda h: max(0.0, h),
    "gelu": lambda h: h * 0.5 * (1 + math.erf(h / math.sqrt(2))),
  }[kind]
  return np.vectorize(act)(x @ w["up/kernel"] + w["up/bias"]) @ w["down/kernel"] + w["down/bias"]


def test_every_file_is_tested():
  assert set(KINDS) == {"identity", "relu", "gelu", "swiglu"}


@pytest.mark.parametrize("kind", KINDS)
def test_matches_the_papers_formula(kind):
  module = realize(kind, hidden=HIDDEN)
  x = np.random.default_rng(0).normal(size=(2, 5, WIDTH))
  np.testing.assert_allclose(module(jnp.asarray(x, jnp.float32)), oracle(kind, module, x), atol=3e-6)


def test_gelu_by_tanh_is_gpt2s():
  module = realize("gelu", hidden=HIDDEN, tanh=True)
  x = np.random.default_rng(0).normal(size=(2, 5, WIDTH)).astype(np.float32)
  exact = realize("gelu", hidden=HIDDEN)(x)
  assert 0 < jnp.abs(module(x) - exact).max() < 3e-3


@pytest.mark.parametrize("kind", KINDS)
def test_acts_on_each_position_alone(kind):
  module = realize(kind, hidden=HIDDEN)
  x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, WIDTH)), jnp.float32)
  jacobian = np.abs(jax.jacobian(lambda x: module(x)[0])(x)[:, :, 0]).max((1, 3))  # output position, input position
  assert (jacobian[~np.eye(4, dtype=bool)] == 0).all()
  assert (np.diag(jacobian) > 0).all()


def test_identity_is_affine_and_relu_is_not():
  x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 1, 3, WIDTH)), jnp.float32)
  for kind, affine in (("identity", True), ("relu", False)):
    module = realize(kind, hidden=HIDDEN)
    gap = jnp.abs(module(x[0] + x[1]) + module(0 * x[0]) - module(x[0]) - module(x[1])).max()
    assert (gap < 1e-5) == affine


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_finite_and_close(kind):
  module = realize(kind, hidden=HIDDEN)
  x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, WIDTH)), jnp.float32)
  low = module(x.astype(jnp.bfloat16))
  assert low.dtype == jnp.bfloat16
  np.testing.assert_allclose(low.astype(jnp.float32), module(x), atol=0.05)


def test_default_sizes_spend_alike():
  count = {k: sum(v.size for v in jax.tree.leaves(nnx.state(realize(k)))) for k in ("relu", "swiglu")}
  assert count["relu"] == 2 * WIDTH * 4 * WIDTH + 5 * WIDTH
  matrices = {
    k: nnx.eval_shape(lambda k=k: build.make("feedforward", {"kind": k}, width=96)) for k in ("relu", "swiglu")
  }
  sizes = {k: sum(v.size for v in jax.tree.leaves(nnx.state(m)) if v.ndim == 2) for k, m in matrices.items()}
  assert sizes["relu"] == sizes["swiglu"]


@pytest.mark.parametrize("hidden", [-1, 1.5])
def test_senseless_hidden_is_refused(hidden):
  with pytest.raises(Refused, match="hidden"):
    realize("relu", hidden=hidden)
