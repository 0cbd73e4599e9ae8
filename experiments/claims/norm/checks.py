"""Layer normalization: y = (x - mean) / sqrt(var + eps) * gain + bias (Ba et al. 2016), and what it is applied to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples, answer, call, cases, distance, one_row
from experiments.claims.res.checks import one_sublayer
from model import mask
from model.block import Block, LayerNorm

STEPS, RATE = 50, 0.1


def statistics() -> Samples:
  """NORM-1: mean and variance over the features of each token, before and after gain and bias.

  At start gain and bias change nothing; `trained` took 50 steps of gradient descent towards random targets.
  """
  samples = Samples()
  for case in cases(lambda shape: LayerNorm(shape.width)):
    (drawn,) = case.modules
    start = _with(drawn, np.ones(case.shape.width), np.zeros(case.shape.width))
    x_BTM = 3.0 * case.x_BTM + case.other_BTM.mean(-1, keepdims=True)
    trained = _with(drawn, *call(_fit, start, x_BTM, case.other_BTM))
    for when, layer in (("at start", start), ("trained", trained)):
      y_BTM = call(answer, layer, x_BTM).astype(np.float64)
      bare_BTM = (y_BTM - np.asarray(layer.bias[...])) / np.asarray(layer.gain[...])
      for where, z_BTM in (("before", bare_BTM), ("after", y_BTM)):
        samples.add(**{f"{when}, {where} gain and bias: mean": np.abs(z_BTM.mean(-1)).max()})
        samples.add(**{f"{when}, {where} gain and bias: variance less 1": np.abs(z_BTM.var(-1) - 1).max()})
  return samples


def _with(layer: LayerNorm, gain_M, bias_M) -> LayerNorm:
  graphdef, params = nnx.split(layer)
  values = {"gain": np.float32(gain_M), "bias": np.float32(bias_M)}
  return nnx.merge(
    graphdef, nnx.from_flat_state({path: values[str(path[-1])] for path, _ in nnx.to_flat_state(params)})
  )


def _fit(layer: LayerNorm, x_BTM, target_BTM):
  """Gain and bias after gradient descent on the squared error."""
  graphdef, params = nnx.split(layer)

  def step(params, _):
    slopes = jax.grad(lambda params: jnp.square(nnx.merge(graphdef, params)(x_BTM) - target_BTM).sum(-1).mean())(params)
    return jax.tree.map(lambda value, slope: value - RATE * slope, params, slopes), None

  trained = nnx.merge(graphdef, jax.lax.scan(step, params, None, length=STEPS)[0])
  return trained.gain[...], trained.bias[...]


def placement() -> Samples:
  """NORM-5: distance of a block's output from what it would be if this or that were normalized; f is the sublayer.

  The block is one of attention alone; readings are `LN(x + f)`, `x + LN(f)` and `x + f(LN(x))`.
  """
  samples = Samples()
  for name in ("post", "pre"):
    for case in cases(functools.partial(one_sublayer, norm=name)):
      (block,) = case.modules
      y_BTM, *readings = call(_readings, block, case.x_BTM)
      for reading, other_BTM in zip(
        ("the sum", "the sublayer's output", "the sublayer's input"), readings, strict=True
      ):
        samples.add(**{f"{name}: distance from normalizing {reading}": distance(y_BTM, other_BTM)})
  return samples


def _readings(block: Block, x_BTM):
  """What the block gives, then LN(x + f(x)), x + LN(f(x)) and x + f(LN(x))."""
  norm, sight = block.attention_norm, one_row(x_BTM.shape[1], mask.everything())
  assert norm is not None
  bare = lambda h_BTM: block.attention(h_BTM, h_BTM, sight)[0]  # noqa: E731
  return block(x_BTM, sight)[0], norm(x_BTM + bare(x_BTM)), x_BTM + norm(bare(x_BTM)), x_BTM + bare(norm(x_BTM))
