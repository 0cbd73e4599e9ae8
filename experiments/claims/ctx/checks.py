"""Counts of what a layer costs in its input length n: operations = a n + b n^2, by the compiler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples
from model import build, mask
from model.block import Block

LENGTHS = (64, 128, 256, 512, 1024)
SETTINGS = ((64, 1), (64, 4), (256, 4))  # width and heads


def operations() -> Samples:
  """CTX-1: the two coefficients of a layer's operations, forward, fitted by least squares over five lengths.

  residual: largest relative error of the fit. b over 4 M: scores and their use cost 2 n^2 M products each, 4 M n^2
  operations, and what the softmax needs beside them. quadratic share at 1024 tokens.
  """
  samples = Samples()
  for width, heads in SETTINGS:
    counts = np.array([_flops(width, heads, length) for length in LENGTHS])
    n = np.array(LENGTHS, float)
    terms = np.stack([n, n**2], 1)
    a, b = np.linalg.lstsq(terms / counts[:, None], np.ones(len(n)), rcond=None)[0]  # relative errors
    samples.add(
      linear_coefficient=a,
      quadratic_coefficient=b,
      quadratic_coefficient_over_4M=b / (4 * width),
      residual=np.abs(terms @ (a, b) / counts - 1).max(),
      quadratic_share_at_1024=b * n[-1] ** 2 / counts[-1],
    )
  return samples


def _flops(width: int, heads: int, length: int) -> float:
  settings = build.complete({"width": width, "heads": heads, "depth": 1})
  graph, state = nnx.split(nnx.eval_shape(functools.partial(Block, settings, layer=0)))
  positions = mask.rows(length)

  def layer(state, x_BTM):
    return nnx.merge(graph, state)(x_BTM, mask.Mask(positions, positions, mask.everything()))[0]

  cost = jax.jit(layer).lower(state, jax.ShapeDtypeStruct((1, length, width), jnp.float32)).cost_analysis()
  assert cost is not None
  return float(cost["flops"])
