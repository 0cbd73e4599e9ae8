"""Dropout (Srivastava et al. 2014): y = m x / (1 - rate), where m is 1 with probability 1 - rate, else 0."""

import jax
import jax.numpy as jnp
from flax import nnx

from model import initial


class Dropout(nnx.Module):
  """Keeps each number with probability 1 - rate and divides it by that; the rate is a dial, key None = evaluation."""

  def __init__(self, rate: float):
    self.rate = initial.dial(rate)

  def __call__(self, x, key=None):
    if key is None:
      return x
    keep = 1.0 - self.rate[...]
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep.astype(x.dtype), jnp.zeros_like(x))
