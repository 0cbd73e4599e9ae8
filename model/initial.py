"""Parameters drawn from fold_in(seed, crc32(path)), so that arms which share a path share its first value.

Schemes: LeCun 1998 (Var 1/in), Glorot & Bengio 2010 (Var 2/(in+out)), torch.nn.Linear (U ±1/√in), GPT-2 (N 0.02²).
"""

import functools
import math
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from model import schema
from model.errors import Refused

ROLES = ("query", "key", "value", "out", "kernel", "orthogonal", "readout", "embedding", "position", "bias", "gain")
# Not matrices or tables of them: added numbers, factors, and vectors that a head's features are multiplied with.
VECTORS = ("bias", "gain", "readout")
ALONE = schema.Init(kind="lecun")  # what a module is drawn with that no configuration stands behind

# Attributes that were renamed: their path today -> the path by whose name they are drawn, so that a new name does not
# change what every model starts from. `*` stands for one part of a path, `**` for any number of them, none too:
#   {"**/attention/queries": "**/attention/query"} draws encoder/layers/0/attention/queries as .../attention/query.
ALIASES: dict[str, str] = {}


class Dial(nnx.Variable):
  """A number that belongs to a module but is given per member: traced, not trained."""


class Seed(nnx.Variable):
  """Frozen randomness of a module: the two words of a key, and the number of training steps taken."""


def seed() -> Seed:
  """A seed that `settings` fills in by path; nothing trains or stores it."""
  return Seed(jnp.zeros(3, jnp.uint32))


def key_of(seed: Seed, period: int = 0) -> jax.Array:
  """The key of a seed, another one every `period` training steps (0 = the same for ever)."""
  words = seed[...]
  key = jax.random.wrap_key_data(words[:2])
  return jax.random.fold_in(key, words[2] // period) if period else key


def dial(value: float) -> Dial:
  """A dial whose default stays readable under nnx.eval_shape, as the metadata `given`."""
  return Dial(jnp.asarray(value, jnp.float32), given=float(value))


def param(shape: tuple[int, ...], role: str, fan_in: int | None = None, fan_out: int | None = None) -> nnx.Param:
  """Declares a float32 parameter; `draw` gives it its value, nothing here depends on the order of construction.

  The fans default to those of a matrix (in..., out). A bias without `fan_in` starts at zero under every scheme.
  """
  if role not in ROLES:
    raise Refused(f"role {role!r} of a parameter is unknown; choose one of {', '.join(ROLES)}")
  if role not in ("bias", "gain"):
    fan_in = math.prod(shape[:-1]) if fan_in is None else fan_in
    fan_out = shape[-1] if fan_out is None else fan_out
  return nnx.Param(jnp.zeros(shape, jnp.float32), role=role, fan_in=fan_in, fan_out=fan_out)


def draw(abstract_params: nnx.State, key: jax.Array, init: Mapping | None = None) -> nnx.State:
  """Pure float32 arrays for every parameter; each depends on `key`, its own path and the scheme, on nothing else.

  init: options of `schema.Init`, the rest as in ALONE. kind = scheme of every matrix; qk = scheme of query and
  key projections ("" = kind; also "torch_mha", the half of Var 1/in that torch.nn.MultiheadAttention's fused
  in-projection gets); gain multiplies every matrix (query, key, value, out, kernel), qk_gain the query and key
  projections and out_gain the last matrix of every sublayer on top; gains may be traced. Recurrent matrices
  (orthogonal) are what their name says, whatever the scheme.
  """
  init = _complete(init or {})

  def leaf(path, variable):
    return _value(_by_path(key, path), variable.shape, variable.get_metadata("role"), _fans(variable), init)

  flat = nnx.to_flat_state(abstract_params)
  _check_apart([path for path, _ in flat])
  return nnx.from_flat_state({path: leaf(path, variable) for path, variable in flat})


def matrices(abstract_params: nnx.State) -> nnx.State:
  """True for every parameter that is a matrix or a table by its role, False for biases, gains and readout vectors.

  The role counts, not the number of axes: biases of heads have two, and a head's readout has one for each head.
  """
  flat = nnx.to_flat_state(abstract_params)
  return nnx.from_flat_state({path: variable.get_metadata("role") not in VECTORS for path, variable in flat})


def dials(model) -> dict[str, float]:
  """Path ("a/0/scale", the one before a renaming) and default of every dial; works on an abstract model."""
  return {name: given for _, name, given in _dials(model)}


def settings(model, values: Mapping | None = None, key: jax.Array | None = None, step: Any = 0) -> nnx.State:
  """All of a model but its parameters, as a pure state.

  Dials: their defaults, overridden by `values` (path -> number, may be traced). Seeds: drawn by path from `key`
  (default: jax.random.key(0)), with the number of training steps taken; both may be traced.
  """
  values = dict(values or {})
  known = dials(model)
  for name in values:
    if name not in known:
      raise Refused(f"no dial {name!r} in this model; it has {', '.join(known) or 'none'}")
  numbers = {path: jnp.asarray(values.get(name, given), jnp.float32) for path, name, given in _dials(model)}
  paths = [path for path, _ in nnx.to_flat_state(nnx.state(model, Seed))]
  root = jax.random.key(0) if paths and key is None else key
  words = {path: jnp.append(jax.random.key_data(_by_path(root, path)), jnp.uint32(step)) for path in paths}
  return nnx.from_flat_state(numbers | words)


def realize(build: Callable[[], nnx.Module], seed: Any = 0, init: Mapping | None = None, values: Mapping | None = None):
  """A module with drawn parameters and set dials, for eager use; `seed` is an int, a traced int or a key."""
  abstract = nnx.eval_shape(build)
  graphdef, params, _, rest = nnx.split(abstract, nnx.Param, (Dial, Seed), ...)
  if jax.tree.leaves(rest):
    raise Refused("realize() draws parameters, dials and seeds only; this module holds other state too")
  key = seed if jnp.issubdtype(jnp.asarray(seed).dtype, jax.dtypes.prng_key) else jax.random.key(seed)
  return nnx.merge(graphdef, draw(params, key, init), settings(abstract, values, key))


def drawn_as(path: str, aliases: Mapping[str, str] | None = None) -> str:
  """The path that names a variable's draws: its own, or the one that ALIASES (or `aliases`) give for it."""
  for today, before in (ALIASES if aliases is None else aliases).items():
    match = _pattern(today).fullmatch(path)
    if match:
      fill = iter(match.groups(default="")).__next__
      return "".join(fill() if part in ("**/", "*") else part for part in _parts(before))
  return path


@functools.lru_cache(maxsize=256)
def _pattern(alias: str) -> re.Pattern:
  """The paths that an alias is for, its wildcards as groups."""
  words = {"**/": "((?:[^/]+/)*)", "*": "([^/]+)"}
  return re.compile("".join(words.get(part, re.escape(part)) for part in _parts(alias)))


def _parts(alias: str) -> list[str]:
  return re.split(r"(\*\*/|\*)", alias)


def _check_apart(paths) -> None:
  """Refuses an alias that would draw two parameters of one model alike."""
  names = [_name(path) for path in paths]
  twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else ()
  if twice:
    raise Refused(f"two parameters are drawn as {twice[0]}: an entry of ALIASES leads to a path that is in use")


def _name(path) -> str:
  return drawn_as("/".join(map(str, path)))


def _by_path(key, path):
  return jax.random.fold_in(key, zlib.crc32(_name(path).encode()))


def _dials(model):
  flat = nnx.to_flat_state(nnx.state(model, Dial))
  return [(path, _name(path), dial.get_metadata("given")) for path, dial in flat]


def _fans(variable) -> tuple[int | None, int | None]:
  return variable.get_metadata("fan_in"), variable.get_metadata("fan_out")


def _complete(init: Mapping) -> dict:
  """All options of `schema.Init`; of numbers, which may be traced, nothing is asked."""
  defaults = schema.defaults(ALONE)
  for name in init:
    if name not in defaults:
      meant = schema.suggestion(name, defaults)
      raise Refused(f"init has no option {name!r}: {meant}allowed: {', '.join(defaults)}")
  for name in ("kind", "qk"):
    if name in init and (complaint := schema.OPTIONS[f"model.init.{name}"].complaint(init[name])):
      raise Refused(complaint)
  return {**defaults, **init}


def _value(key, shape, role, fans, init):
  if role == "gain":
    return jnp.ones(shape, jnp.float32)
  if role == "bias":
    if init["kind"] == "torch" and fans[0]:
      return _uniform(key, shape, 1 / (3 * fans[0]))
    return jnp.zeros(shape, jnp.float32)
  if role in ("embedding", "position"):  # unit size, so that a token and its position weigh the same
    return _normal(key, shape, 0.02 if init["kind"] == "gpt2" else 1.0)
  if role == "readout":
    return _normal(key, shape, fans[0] ** -0.5)
  if role == "orthogonal":
    return _orthogonal(key, shape)
  projects = role in ("query", "key")
  value = _matrix(key, shape, (projects and init["qk"]) or init["kind"], *fans) * init["gain"]
  return value * (init["qk_gain"] if projects else init["out_gain"] if role == "out" else 1.0)


def _matrix(key, shape, scheme, fan_in, fan_out):
  if scheme == "lecun":
    return _normal(key, shape, fan_in**-0.5)
  if scheme == "gpt2":
    return _normal(key, shape, 0.02)
  variance = {"glorot": 2 / (fan_in + fan_out), "torch": 1 / (3 * fan_in), "torch_mha": 1 / (2 * fan_in)}[scheme]
  return _uniform(key, shape, variance)


def _orthogonal(key, shape):
  """Orthogonal in the last two axes, uniform over all rotations and reflections (Saxe et al. 2014)."""
  q, r = jnp.linalg.qr(jax.random.normal(key, shape, jnp.float32))
  return q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


# Drawn flat: matrices of one size share a compiled program and, where the path is shared, their numbers, however many
# heads they are cut into.
def _normal(key, shape, std):
  return (std * jax.random.normal(key, (math.prod(shape),), jnp.float32)).reshape(shape)


def _uniform(key, shape, variance):
  bound = (3 * variance) ** 0.5
  return (bound * jax.random.uniform(key, (math.prod(shape),), jnp.float32, -1.0, 1.0)).reshape(shape)
