"""Stacks: who depends on whom by gradient, windows, blocks of keys, recorded names, position schemes once per stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.mask import Mask, causal, rows
from model.transformer import Decoder, Encoder
from tests.model import tiny

WIDTH, LENGTH = 16, 7
X = jnp.asarray(np.random.default_rng(0).normal(size=(1, LENGTH, WIDTH)), jnp.float32)


def stack(cls, **options):
  complete = build.complete({"width": WIDTH, "heads": 4, "depth": 2, **options})
  return tiny.realize(lambda: cls(complete))


def influence(module):
  """Largest |d output t / d input s| for each pair (t, s)."""
  jacobian = jax.jit(jax.jacobian(lambda x: module(x, rows(LENGTH))[0][0]))
  return np.abs(jacobian(X)[:, :, 0]).max((1, 3))


@pytest.mark.parametrize(("kind", "norm"), [("dot", "pre"), ("additive", "post"), ("cosine", "none")])
def test_a_decoder_never_sees_the_future(kind, norm):
  jacobian = influence(stack(Decoder, attention={"kind": kind}, wiring={"norm": norm, "residual": True}))
  assert (jacobian[np.triu_indices(LENGTH, 1)] == 0).all()
  assert (jacobian[np.tril_indices(LENGTH)] > 0).all()


def test_an_encoder_sees_all():
  assert (influence(stack(Encoder)) > 0).all()


def test_windows_add_up_over_layers():
  far = np.abs(np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH)))
  jacobian = influence(stack(Encoder, window=2))
  np.testing.assert_array_equal(jacobian > 0, far <= 2)  # two layers, one step each
  behind = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
  np.testing.assert_array_equal(influence(stack(Decoder, window=2)) > 0, (behind >= 0) & (behind <= 2))


def test_blocks_of_keys_are_dense_attention():
  for cls in (Encoder, Decoder):
    dense, blockwise = (stack(cls, block=block)(X, rows(LENGTH))[0] for block in (0, 3))
    np.testing.assert_allclose(blockwise, dense, atol=2e-6)


def test_an_encoder_without_positions_is_equivariant():
  order = np.array([3, 0, 6, 2, 1, 5, 4])
  module = stack(Encoder)
  np.testing.assert_allclose(module(X[:, order], rows(LENGTH))[0], module(X, rows(LENGTH))[0][:, order], atol=3e-6)


def test_positions_enter_once_below_the_first_layer():
  module = stack(Encoder, position={"kind": "learned", "length": 8})
  tables = [path for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param)) if "position" in path]
  assert tables == [("position", "table")]


LAYERED = {
  "shaw": ({"clip": 2}, ("key", "value")),
  "xl": ({"reach": 8}, ("kernel", "content", "distance")),
}  # options, each layer's own


def scheme_paths(kind, **options):
  module = stack(Decoder, depth=3, position={"kind": kind, **options})
  paths = ("/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param)))
  return {path for path in paths if path.startswith("position")}


def test_each_layer_has_its_own_numbers_where_the_paper_has_them():
  """Shaw's tables and Transformer-XL's W_R, u and v; T5's biases and a table of the input are one for all."""
  places = ("position", "positions/0", "positions/1")
  assert scheme_paths("shaw") == {f"{place}/{name}" for place in places for name in ("key", "value")}
  numbers = LAYERED["xl"][1]
  assert scheme_paths("xl") == {f"{place}/{name}" for place in places for name in numbers}
  assert scheme_paths("xl", shared=True) == {f"position/{name}" for name in numbers}
  assert scheme_paths("t5") == scheme_paths("learned", length=8) == {"position/table"}


@pytest.mark.parametrize("cut", [{}, {"segment": 3, "memory": 2}])
@pytest.mark.parametrize("kind", LAYERED)
def test_a_shared_scheme_is_one_whose_layers_have_equal_numbers(kind, cut):
  options, names = LAYERED[kind]
  own, shared = (stack(Decoder, position={"kind": kind, **options, "shared": s}, **cut) for s in (False, True))
  run = jax.jit(lambda module: module(X, rows(LENGTH))[0])
  assert np.abs(run(own) - run(shared)).max() > 1e-3
  for name in names:
    getattr(own.positions[0], name)[...] = getattr(shared.position, name)[...]
  np.testing.assert_allclose(run(own), run(shared), atol=1e-5)


@pytest.mark.parametrize("kind", LAYERED)
def test_a_layer_looks_by_its_own_scheme(kind):
  module, mask = stack(Decoder, position={"kind": kind, **LAYERED[kind][0]}), Mask(rows(LENGTH), rows(LENGTH), causal())
  y = X
  for layer, scheme in zip(module.layers, (module.position, *module.positions), strict=True):
    y, _ = layer(y, mask, scheme=scheme)
  np.testing.assert_allclose(module(X, rows(LENGTH))[0], module.norm(y), atol=1e-5)


def test_last_norm_only_with_pre():
  for norm in ("pre", "post", "none"):
    module = stack(Encoder, wiring={"norm": norm, "residual": True})
    assert (module.norm is not None) == (norm == "pre")


def test_records_name_their_place():
  record = []
  memory = {"memory_BSM": X[:, :3], "memory_positions": rows(3)}
  decoder = tiny.realize(lambda: Decoder(build.complete({"width": WIDTH, "depth": 2}), cross=True))
  decoder(X, rows(LENGTH), **memory, record=record)
  assert [entry["name"] for entry in record] == [
    "decoder/0/self", "decoder/0/cross", "decoder/1/self", "decoder/1/cross"
  ]  # fmt: skip
  assert [entry["weights_BKGTS"].shape[-1] for entry in record] == [LENGTH, 3, LENGTH, 3]
  record = []
  stack(Encoder)(X, rows(LENGTH), record=record)
  assert [(entry["name"], entry["layer"]) for entry in record] == [("encoder/0", 0), ("encoder/1", 1)]


def test_removing_a_head_removes_only_its_share():
  module = stack(Encoder, depth=1, feedforward={"kind": "none"}, wiring={"norm": "none", "residual": True})
  full = module(X, rows(LENGTH))[0]
  record = []
  module(X, rows(LENGTH), record=record)
  out = module.layers[0].attention.out
  share = jnp.einsum("btd,dm->btm", record[0]["out_BTKGD"][:, :, 1, 0], out[...][1, 0])
  out[...] = out[...].at[1, 0].set(0.0)
  np.testing.assert_allclose(module(X, rows(LENGTH))[0], full - share, atol=2e-6)
