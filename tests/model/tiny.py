"""Small models and packed rows for the tests of whole models."""

import zlib

import jax.numpy as jnp
import numpy as np
from flax import nnx

from model import build, initial
from model.language import Inputs
from model.mask import Positions
from model.vocabulary import Vocabulary

SYMBOLS, SOURCES = 11, 7
OPTIONS = {
  "kind": "gpt",
  "width": 16,
  "heads": 4,
  "depth": 2,
  "position": {"kind": "sinusoidal"},
  "feedforward": {"kind": "gelu"},
}


def vocabulary(kind):
  return Vocabulary((SYMBOLS,), SYMBOLS, 1, (SOURCES,) if kind == "seq2seq" else ())


def realize(make, seed=0):
  """The module with parameters from numpy (nothing to compile), each by its path as `initial.draw` does."""
  abstract = nnx.eval_shape(make)
  graphdef, params, _ = nnx.split(abstract, nnx.Param, ...)
  drawn = [(path, _normal(path, leaf, seed)) for path, leaf in nnx.to_flat_state(params)]
  return nnx.merge(graphdef, nnx.from_flat_state(drawn), initial.settings(abstract))


def _normal(path, leaf, seed):
  draw = np.random.default_rng([seed, zlib.crc32("/".join(map(str, path)).encode())])
  role = leaf.get_metadata("role")
  mean, size = {"gain": (1, 0), "bias": (0, 0.1)}.get(role, (0, (leaf.get_metadata("fan_in") or 1) ** -0.5))
  size = 1.0 if role in ("embedding", "position") else size
  return jnp.asarray(mean + size * draw.normal(size=leaf.shape), jnp.float32)


def model(kind, seed=0, dtype="float32", **options):
  settings = {**OPTIONS, "kind": kind, **options}
  return realize(lambda: build.model(settings, vocabulary(kind), dtype), seed)


def positions(*lengths, total=None):
  """One row of segments 1, 2, ... whose positions start again, then padding up to `total`."""
  pos = [i for n in lengths for i in range(n)]
  segment = [s for s, n in enumerate(lengths, 1) for _ in range(n)]
  padding = [0] * ((total or len(pos)) - len(pos))
  return Positions(np.array([pos + padding], np.int32), np.array([segment + padding], np.int32))


def inputs(kind, lengths, sources, total=None, total_source=None, seed=0):
  """One packed row of random symbols; `lengths` and `sources` are the segments of both sides."""
  draw = np.random.default_rng(seed)
  here, there = positions(*lengths, total=total), positions(*sources, total=total_source)
  tokens = draw.integers(0, SYMBOLS, (1, here.pos_BT.shape[1], 1)).astype(np.int32)
  source = draw.integers(0, SOURCES, (1, there.pos_BT.shape[1], 1)).astype(np.int32)
  return Inputs(tokens, here, source, there) if kind == "seq2seq" else Inputs(tokens, here)


def part(packed, t, s):
  """The columns `t` (and `s` of the source) as a row of their own."""
  if packed.source_BSC is None:
    return Inputs(packed.tokens_BTC[:, t], packed.positions.at(t))
  return Inputs(packed.tokens_BTC[:, t], packed.positions.at(t), packed.source_BSC[:, s], packed.source_positions.at(s))


def pad(row, total):
  """The row and then nothing, `total` columns on both sides."""

  def longer(a):
    return np.pad(a, [(0, 0), (0, total - a.shape[1])] + [(0, 0)] * (a.ndim - 2))

  padded = [None if side is None else longer(side) if not isinstance(side, Positions) else Positions(*map(longer, side))
            for side in row]  # fmt: skip
  return Inputs(*padded)
