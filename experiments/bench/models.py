"""Recurrent networks beside Transformers of equal parameters: time of a training step, of a query, of a new token.

A layer of width M: an LSTM has 8 M^2 weights; attention has 4 M^2, and its feed-forward network of 2 M hidden units
another 4 M^2. Candidates take turns in every repeat.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.bench import timing
from experiments.claims.grid import Samples
from model import build, initial, mask
from model.language import Inputs
from model.vocabulary import Vocabulary

REPEATS = 12  # units
TOKENS = 2048  # per step
LENGTHS = (128, 2048)
WIDTHS = (64, 256)
SYMBOLS = 16
KINDS = {
  "LSTM": {"kind": "rnn", "cell": {"kind": "lstm"}},
  "Transformer": {"kind": "gpt", "position": {"kind": "sinusoidal"}, "block": 256},
}

Calls = Mapping[str, Callable[[], None]]


def training() -> Samples:
  """RNN-1, RNN-5: log2 of an LSTM's time per step over a Transformer's, by width and length, per repeat.

  Attention works by blocks of 256 keys, which on this device is its faster way at the longer length.
  """
  samples = Samples()
  for width, length in itertools.product(WIDTHS, LENGTHS):
    calls = {name: step(_settings(options, width), length) for name, options in KINDS.items()}
    _compare(samples, f"width {width}, {length} tokens", calls, "LSTM", "Transformer")
  return samples


def throughput() -> Samples:
  """RNN-6a: the same for four layers of width 512, on an accelerator: 32768 tokens per step in rows of 1024."""
  samples = Samples()
  settings = {name: _settings(options, 512) | {"depth": 4, "heads": 8, "block": 0} for name, options in KINDS.items()}
  calls = {name: step(one, 1024, tokens=32768) for name, one in settings.items()}
  _compare(samples, "four layers of width 512", calls, "LSTM", "Transformer")
  return samples


def parallel() -> Samples:
  """RNN-2a: log2 of the time of causal attention query by query over all queries at once, per repeat."""
  length, width = 512, 64
  mechanism = initial.realize(lambda: build.make("attention", {"kind": "dot"}, heads=1, head_dim=width, layer=0))
  q, k, v = (jax.random.normal(key, (1, length, 1, width)) for key in jax.random.split(jax.random.key(0), 3))
  keys = mask.rows(length)

  def at_once(q_BTKGD, k, v):
    return mechanism(q_BTKGD, k, v, mask.Mask(keys, keys, mask.causal()))[0]

  def one_by_one(q_BTKGD, k, v):
    def one(t):
      q_B1KGD = jax.lax.dynamic_slice_in_dim(q_BTKGD, t, 1, 1)
      return mechanism(q_B1KGD, k, v, mask.Mask(mask.rows(1, t), keys, mask.causal()))[0][:, 0]

    return jnp.moveaxis(jax.lax.map(one, jnp.arange(length)), 0, 1)

  calls = {}
  for function in (at_once, one_by_one):
    gradient = jax.jit(jax.grad(lambda vectors, function=function: jnp.square(function(*vectors)).sum()))
    calls[function.__name__] = functools.partial(_wait, gradient, (q[:, :, :, None], k, v))
  samples = Samples()
  _compare(samples, "one by one over all at once", calls, "one_by_one", "at_once")
  return samples


def decoding() -> Samples:
  """RNN-2b: log2 of the time of one more token after 2048 tokens over that after 128, per repeat."""
  batch, near, far = 8, 128, 2048
  calls = {
    (name, length): _token(_settings(options, 64) | {"depth": 4, "block": 0}, batch, length)
    for name, options in KINDS.items()
    for length in (near, far)
  }
  samples = Samples()
  for seconds in _rounds(calls):
    for name in KINDS:
      samples.add(**{name: math.log2(seconds[name, far] / seconds[name, near])})
  return samples


def _settings(options: Mapping[str, Any], width: int) -> dict[str, Any]:
  shared = {"width": width, "heads": width // 32, "depth": 1, "feedforward": {"kind": "relu", "hidden": 2 * width}}
  return build.complete({**shared, **options})


def step(settings, length: int, tokens: int = TOKENS) -> Callable[[], None]:
  """A call that computes the gradient of the loss on `tokens` tokens in rows of `length`, and waits for it."""
  graph, params, rest = _split(settings)
  key = jax.random.key(0)
  inputs = Inputs(jax.random.randint(key, (max(1, tokens // length), length, 1), 0, SYMBOLS), mask.rows(length))

  def loss(params):
    return jnp.square(nnx.merge(graph, params, rest)(inputs)[0]).mean()

  return functools.partial(_wait, jax.jit(jax.grad(loss)), params)


def _token(settings, batch: int, length: int) -> Callable[[], None]:
  """A call that reads one token when the carry is full of `length` of them."""
  graph, params, rest = _split(settings)
  model = nnx.merge(graph, params, rest)
  tokens = jnp.zeros((batch, length, 1), jnp.int32)
  _, carry = jax.jit(lambda tokens: model(Inputs(tokens, mask.rows(length)), carry=model.start(batch, length + 1)))(
    tokens
  )

  def read(params, carry):
    return nnx.merge(graph, params, rest)(Inputs(tokens[:, :1], mask.rows(1, length)), carry=carry)

  return functools.partial(_wait, jax.jit(read), params, carry)


def _split(settings):
  abstract = nnx.eval_shape(lambda: build.model(settings, Vocabulary((SYMBOLS,), SYMBOLS)))
  graph, params, _ = nnx.split(abstract, nnx.Param, ...)
  return graph, initial.draw(params, jax.random.key(0)), initial.settings(abstract)


def _wait(function, *inputs) -> None:
  jax.block_until_ready(function(*inputs))


def _rounds(calls):
  """Seconds of each call, repeat by repeat."""
  for call in calls.values():
    call()  # compiles
  return timing.rounds({name: timing.Turn(call) for name, call in calls.items()}, REPEATS)


def _compare(samples: Samples, name: str, calls: Calls, one: str, other: str) -> None:
  """log2(time of `one` / time of `other`), per repeat."""
  for seconds in _rounds(calls):
    samples.add(**{name: math.log2(seconds[one] / seconds[other])})
