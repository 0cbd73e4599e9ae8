"""Parameters by path: pairing, measured variances against the schemes' formulas, dials under eval_shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.proof import lowering
from model import initial
from model.errors import Refused
from model.initial import Dial, dial, dials, draw, key_of, param, realize, seed, settings

IN, OUT = 200, 300


class Layer(nnx.Module):
  def __init__(self, extra=False):
    self.query = param((IN, OUT), "query", fan_in=IN, fan_out=OUT)
    if extra:
      self.additional = param((7,), "gain")
    self.value = param((IN, OUT), "value", fan_in=IN, fan_out=OUT)
    self.kernel = param((IN, OUT), "kernel")
    self.bias = param((IN, OUT), "bias", fan_in=IN)
    self.quiet = param((OUT,), "bias")
    self.gain = param((OUT,), "gain")
    self.readout = param((IN, OUT), "readout", fan_in=IN, fan_out=1)
    self.table = param((IN, OUT), "embedding")
    self.scale = dial(0.25)


class Net(nnx.Module):
  def __init__(self, extra=False):
    self.layers = nnx.List([Layer(extra), Layer()])


def drawn(init=None, seed=0, extra=False, build=Net):
  params = nnx.state(nnx.eval_shape(lambda: build(extra)), nnx.Param)
  return {"/".join(map(str, path)): a for path, a in nnx.to_flat_state(draw(params, jax.random.key(seed), init))}


def test_an_extra_parameter_does_not_shift_the_others():
  with_extra, without = drawn(extra=True), drawn()
  assert set(with_extra) - set(without) == {"layers/0/additional"}
  for name, value in without.items():
    np.testing.assert_array_equal(with_extra[name], value)


def test_paths_and_seeds_differ():
  one, other = drawn(), drawn(seed=1)
  assert (one["layers/0/kernel"] != one["layers/1/kernel"]).any()
  assert (one["layers/0/kernel"] != other["layers/0/kernel"]).any()


VARIANCES = {
  "lecun": {"kernel": 1 / IN, "query": 1 / IN, "table": 1.0, "readout": 1 / IN, "bias": 0.0},
  "glorot": {"kernel": 2 / (IN + OUT), "query": 2 / (IN + OUT), "table": 1.0, "readout": 1 / IN, "bias": 0.0},
  "torch": {"kernel": 1 / (3 * IN), "query": 1 / (3 * IN), "table": 1.0, "readout": 1 / IN, "bias": 1 / (3 * IN)},
  "gpt2": {"kernel": 4e-4, "query": 4e-4, "table": 4e-4, "readout": 1 / IN, "bias": 0.0},
}


@pytest.mark.parametrize("kind", VARIANCES)
def test_variances_equal_the_formulas(kind):
  layer = drawn({"kind": kind}, build=lambda extra: Layer())
  for name, variance in VARIANCES[kind].items():
    assert np.mean(np.square(layer[name])) == pytest.approx(variance, rel=0.03), name  # 6 sd of the estimate
    assert abs(layer[name].mean()) < 6 * (variance / layer[name].size) ** 0.5 + 1e-9, name
  assert (layer["gain"] == 1).all()
  assert (layer["quiet"] == 0).all()


@pytest.mark.parametrize("kind", ["glorot", "torch"])
def test_uniform_schemes_fill_their_interval(kind):
  kernel = drawn({"kind": kind}, build=lambda extra: Layer())["kernel"]
  bound = (3 * VARIANCES[kind]["kernel"]) ** 0.5
  assert np.abs(kernel).max() <= bound * (1 + 1e-6)
  assert np.abs(kernel).max() > 0.999 * bound


def test_qk_schemes_and_gains_touch_only_their_roles():
  plain = drawn(build=lambda extra: Layer())
  mha = drawn({"qk": "torch_mha"}, build=lambda extra: Layer())
  assert mha["query"].var() == pytest.approx(1 / (2 * IN), rel=0.03)
  gained = drawn({"gain": 2.0, "qk_gain": 3.0}, build=lambda extra: Layer())
  for name, factor in (("query", 6), ("value", 2), ("kernel", 2), ("table", 1), ("readout", 1), ("gain", 1)):
    np.testing.assert_allclose(gained[name], factor * plain[name], rtol=1e-6)
    if name != "query":
      np.testing.assert_array_equal(mha[name], plain[name])


def test_members_drawn_together_equal_members_drawn_alone():
  params = nnx.state(nnx.eval_shape(Layer), nnx.Param)

  def one(seed, gain):
    return draw(params, jax.random.key(seed), {"qk_gain": gain})

  seeds, gains = jnp.arange(3), jnp.array([1.0, 2.0, 4.0])
  alone = jax.jit(one)(2, 4.0)
  mapped = jax.jit(lambda *a: jax.lax.map(lambda b: one(*b), a))(seeds, gains)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[2], b), mapped, alone)
  together = jax.jit(jax.vmap(one))(seeds, gains)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[2], b, rtol=1e-6), together, alone)


def test_the_draw_has_the_structure_of_the_parameters():
  net = nnx.eval_shape(Net)
  params = nnx.state(net, nnx.Param)
  assert jax.tree.structure(draw(params, jax.random.key(0))) == jax.tree.structure(nnx.as_pure(params))


def test_dials_are_readable_without_values():
  net = nnx.eval_shape(Net)
  assert dials(net) == {"layers/0/scale": 0.25, "layers/1/scale": 0.25}
  graphdef, params, _ = nnx.split(net, nnx.Param, Dial)
  merged = nnx.merge(graphdef, draw(params, jax.random.key(0)), settings(net, {"layers/1/scale": 3.0}))
  assert float(merged.layers[0].scale[...]) == 0.25
  assert float(merged.layers[1].scale[...]) == 3.0


def test_dials_may_be_traced_and_are_no_parameters():
  net = nnx.eval_shape(Net)
  assert not any("scale" in map(str, path) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param)))
  values = jax.vmap(lambda v: settings(net, {"layers/0/scale": v})["layers"][0]["scale"])(jnp.arange(3.0))
  np.testing.assert_array_equal(values, [0, 1, 2])


def test_realize_gives_a_module_with_values():
  layer = realize(Layer, 5, {"kind": "glorot"}, {"scale": 2.0})
  assert float(layer.scale[...]) == 2.0
  np.testing.assert_array_equal(layer.kernel[...], realize(Layer, jax.random.key(5), {"kind": "glorot"}).kernel[...])


@pytest.mark.parametrize(
  ("init", "text"), [({"kind": "he"}, "lecun"), ({"qk": "he"}, "torch_mha"), ({"gian": 1.0}, "gain")]
)
def test_mistakes_are_refused_in_one_line(init, text):
  with pytest.raises(Refused, match=text) as caught:
    drawn(init)
  assert "\n" not in str(caught.value)
  with pytest.raises(Refused, match="role"):
    param((1,), "weight")
  with pytest.raises(Refused, match="no dial"):
    settings(nnx.eval_shape(Net), {"scale": 1.0})


class Hashed(nnx.Module):
  def __init__(self):
    self.kernel = param((3, 4, 4), "orthogonal")
    self.out = param((IN, OUT), "out")
    self.seed = seed()
    self.other = seed()


def test_recurrent_matrices_are_orthogonal():
  kernel = realize(Hashed).kernel[...]
  np.testing.assert_allclose(np.einsum("gij,gik->gjk", kernel, kernel), np.tile(np.eye(4), (3, 1, 1)), atol=1e-5)
  assert not np.allclose(kernel[0], kernel[1])


def test_the_last_matrix_of_a_sublayer_has_a_gain_of_its_own():
  plain, small = (realize(Hashed, init=init) for init in ({}, {"out_gain": 0.25}))
  np.testing.assert_allclose(small.out[...], 0.25 * plain.out[...])
  np.testing.assert_array_equal(small.kernel[...], plain.kernel[...])


def test_seeds_depend_on_path_run_and_period_alone():
  def key(step=0, period=0, run=0, name="seed"):
    abstract = nnx.eval_shape(Hashed)
    graph, params, _ = nnx.split(abstract, nnx.Param, ...)
    state = settings(abstract, None, jax.random.key(run), step)
    made = nnx.merge(graph, draw(params, jax.random.key(run)), state)
    return tuple(np.asarray(jax.random.key_data(key_of(getattr(made, name), period))))

  assert key() == key(step=7) == key(step=7)
  assert key(period=5) == key(step=4, period=5) != key(step=5, period=5)
  assert len({key(), key(run=1), key(name="other"), key(step=5, period=5)}) == 4


class Renamed(nnx.Module):
  """`Layer` after someone found better names."""

  def __init__(self):
    self.question = param((IN, OUT), "query", fan_in=IN, fan_out=OUT)
    self.value = param((IN, OUT), "value", fan_in=IN, fan_out=OUT)
    self.factor = dial(0.25)


class Named(nnx.Module):
  def __init__(self):
    self.query = param((IN, OUT), "query", fan_in=IN, fan_out=OUT)
    self.value = param((IN, OUT), "value", fan_in=IN, fan_out=OUT)
    self.scale = dial(0.25)


def program(build):
  """What initialization is lowered to, without names."""
  abstract = nnx.eval_shape(build)
  key = jax.random.key(3)
  lowered = jax.jit(lambda: (draw(nnx.state(abstract, nnx.Param), key), settings(abstract))).lower()
  return lowering._text(lowered)


def nested(layer):
  class Nest(nnx.Module):
    def __init__(self):
      self.layers = nnx.List([layer(), layer()])

  return Nest


def test_a_renamed_attribute_is_drawn_as_before_by_its_alias(monkeypatch):
  before = program(nested(Named))
  assert program(nested(Renamed)) != before
  monkeypatch.setattr(initial, "ALIASES", {"**/question": "**/query", "layers/*/factor": "layers/*/scale"})
  assert program(nested(Renamed)) == before
  old, new = (realize(nested(layer), seed=3) for layer in (Named, Renamed))
  for one, other in zip(old.layers, new.layers, strict=True):
    np.testing.assert_array_equal(one.query[...], other.question[...])
    np.testing.assert_array_equal(one.value[...], other.value[...])
  assert dials(new) == dials(old) == {"layers/0/scale": 0.25, "layers/1/scale": 0.25}
  assert settings(new, {"layers/1/scale": 2.0})["layers"][1]["factor"][...] == 2.0


@pytest.mark.parametrize(
  ("path", "aliases", "drawn_as"),
  [
    ("a/b", {}, "a/b"),
    ("a/b", {"a/b": "c"}, "c"),
    ("a/bc", {"a/b": "c"}, "a/bc"),
    ("encoder/layers/3/cross/queries", {"**/cross/queries": "**/cross/query"}, "encoder/layers/3/cross/query"),
    ("queries", {"**/queries": "**/query"}, "query"),
    ("my_queries", {"**/queries": "**/query"}, "my_queries"),
    ("a/7/b/8", {"a/*/b/*": "x/*/*"}, "x/7/8"),
    ("a/7/b", {"a/*": "x/*"}, "a/7/b"),
    ("a.b", {"a?b": "c"}, "a.b"),
    ("b", {"b": "c", "*": "d"}, "c"),
  ],
)
def test_an_alias_stands_for_the_paths_it_spells(path, aliases, drawn_as):
  assert initial.drawn_as(path, aliases) == drawn_as


def test_an_alias_may_not_make_two_parameters_equal(monkeypatch):
  monkeypatch.setattr(initial, "ALIASES", {"**/value": "**/query"})
  with pytest.raises(Refused, match="layers/0/query"):
    realize(nested(Named))
