"""Checks of recurrent cells: how far gradients reach, what lengths they take, and whether they need take turns.

|d(u . y_T) / d x_s| at the start of training, u random: its logarithm against T - s has a slope of 0 if a distant
input counts as much as a near one (Bengio et al. 1994; Pascanu et al. 2013).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples
from model import build, initial, mask
from model.errors import Refused
from model.language import Inputs
from model.recurrent import Recurrent
from model.transformer import Decoder
from model.vocabulary import Vocabulary

LENGTH, WIDTH, BATCH = 128, 32, 4
NEAR = 8  # distances below it are left out: there the last layer's own shape shows
SEEDS = tuple(range(100, 112))
CELLS = {
  "tanh": {"kind": "tanh"},
  "LSTM, forget bias 0": {"kind": "lstm", "forget_bias": 0.0},
  "LSTM, forget bias 1": {"kind": "lstm"},
  "LSTM, chrono": {"kind": "lstm", "chrono": LENGTH},
  "GRU": {"kind": "gru"},
  "linear scan": {"kind": "scan"},
}


def reach() -> Samples:
  """RNN-3: slope of log |gradient| per token of distance, per seed, for each cell and for causal attention."""
  settings = build.complete({"width": WIDTH, "heads": 4, "depth": 1, "position": {"kind": "sinusoidal"}})
  stacks = {name: functools.partial(_recurrent, settings | {"cell": cell}) for name, cell in CELLS.items()}
  samples = Samples()
  for name, make in {**stacks, "attention": lambda: Decoder(settings)}.items():
    samples[name] = [slope(norms_T) for norms_T in np.asarray(_norms(make))]
  return samples


def _recurrent(settings):
  return Recurrent(settings, direction="forward")


def slope(norms_T: np.ndarray) -> float:
  """Of the logarithm over the distance from the last token, by least squares; gradients that vanish count as tiny."""
  distance_T = np.arange(len(norms_T))[::-1]
  far = distance_T >= NEAR
  logs = np.log(np.maximum(norms_T[far], np.finfo(np.float32).tiny))
  return float(np.polyfit(distance_T[far], logs, 1)[0])


def _norms(make):
  """Gradient norms at every input, (seeds, T)."""
  abstract = nnx.eval_shape(make)
  graph, params, _ = nnx.split(abstract, nnx.Param, ...)

  def one(seed):
    key = jax.random.key(seed)
    module = nnx.merge(graph, initial.draw(params, key), initial.settings(abstract))
    x_key, u_key = jax.random.split(jax.random.fold_in(key, 1))
    u_BM = jax.random.normal(u_key, (BATCH, WIDTH))

    def answer(x_BTM):
      return (module(x_BTM, mask.rows(LENGTH))[0][:, -1] * u_BM).sum()

    grad_BTM = jax.grad(answer)(jax.random.normal(x_key, (BATCH, LENGTH, WIDTH)))
    return jnp.linalg.norm(grad_BTM, axis=(0, 2))

  return jax.jit(lambda seeds: jax.lax.map(one, seeds))(jnp.asarray(SEEDS))


def lengths() -> Samples:
  """RNN-7a: share of models of a kind that take four times the length they were built for (1 = all, 0 = none).

  A learned table of positions has no row beyond its length, and refuses; sinusoids and recurrent networks have no such
  end.
  """
  built = 16
  kinds = {
    "recurrent": [{"kind": "rnn", "cell": cell} for cell in CELLS.values()],
    "attention with a learned table": [{"kind": "gpt", "position": {"kind": "learned", "length": built}}],
    "attention with sinusoids": [{"kind": "gpt", "position": {"kind": "sinusoidal"}}],
  }
  return Samples({name: [float(_takes(one, 4 * built)) for one in options] for name, options in kinds.items()})


def _takes(options, length: int) -> bool:
  settings = {"width": 8, "heads": 2, "depth": 1, **options}
  graph, state = nnx.split(nnx.eval_shape(lambda: build.model(settings, Vocabulary((4,), 4))))
  inputs = Inputs(jnp.zeros((1, length, 1), jnp.int32), mask.rows(length))
  try:
    jax.eval_shape(lambda state: nnx.merge(graph, state)(inputs)[0], state)
  except Refused:
    return False
  return True


def scan() -> Samples:
  """RNN-8: a linear recurrence step by step, and all at once in log2(T) rounds by parallel scan: difference, depth.

  depth: operations that must follow each other, as a share of the number of tokens.
  """
  samples = Samples()
  for seed in SEEDS[:3]:
    cell: Any = initial.realize(lambda: build.make("cell", {"kind": "scan"}, width=WIDTH, hidden=WIDTH), seed)
    x_BTM = jax.random.normal(jax.random.key(seed), (2, LENGTH, WIDTH))
    at_once, _ = cell.run(x_BTM, mask.rows(LENGTH))
    samples.add(
      largest_difference=np.abs(np.asarray(at_once) - _one_by_one(cell, x_BTM)).max(),
      rounds_over_tokens=np.log2(LENGTH) / LENGTH,
    )
  return samples


def _one_by_one(cell, x_BTM) -> np.ndarray:
  """The outputs when each token waits for the one before."""

  def one(carry, x_BM):
    h_B1H, carry = cell.run(x_BM[:, None], mask.rows(1), carry)
    return carry, h_B1H[:, 0]

  _, h_TBH = jax.lax.scan(one, cell.start(x_BTM.shape[0], x_BTM.dtype), jnp.swapaxes(x_BTM, 0, 1))
  return np.asarray(jnp.swapaxes(h_TBH, 0, 1))
