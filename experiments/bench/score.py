"""Time of additive against dot-product attention, forward and backward, each in its faster implementation.

Vaswani et al. 2017, 3.2.1, call dot products much faster in practice. Implementations: all keys at once, and by blocks
of keys, which spares memory. The time of a repeat is the least of its calls, all candidates called in turn.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.claims.grid import Samples
from model import build, initial, mask

REPEATS = 10  # units
CALLS = 5
BATCH = 2
BLOCK = 32
SETTINGS = {  # (keys, key width)
  "128 keys, width 8": (128, 8),
  "128 keys, width 128": (128, 128),
  "32 keys, width 128": (32, 128),
}


def speed() -> Samples:
  """ADD-1: log2 of the time of additive over that of dot-product attention, per repeat, on this device."""
  samples = Samples()
  for setting, (length, width) in SETTINGS.items():
    calls = {(kind, block): candidate(kind, block, length, width) for kind, block in CANDIDATES if block < length}
    for call in calls.values():
      call()  # compiles
    for _ in range(REPEATS):
      least = least_times(calls)
      best = {kind: min(t for (of, _), t in least.items() if of == kind) for kind in ("dot", "additive")}
      samples.add(**{setting: jnp.log2(best["additive"] / best["dot"])})
  return samples


CANDIDATES = tuple(itertools.product(("dot", "additive"), (0, BLOCK)))


def least_times(calls: dict[tuple[str, int], Callable[[], None]]) -> dict[tuple[str, int], float]:
  """Seconds of the fastest of CALLS calls of each candidate, taken in turn so that a disturbance hits all alike."""
  least = dict.fromkeys(calls, float("inf"))
  for _ in range(CALLS):
    for name, call in calls.items():
      started = time.perf_counter()
      call()
      least[name] = min(least[name], time.perf_counter() - started)
  return least


def candidate(kind: str, block: int, length: int, width: int) -> Callable[[], None]:
  """A call that computes output and all gradients of one head, values 64 wide, and waits for them."""
  mechanism = initial.realize(partial(build.make, "attention", {"kind": kind}, heads=1, head_dim=width, layer=0))
  graphdef, params, rest = nnx.split(mechanism, nnx.Param, ...)
  whole = mask.Mask(mask.rows(length), mask.rows(length), mask.everything())
  keys = jax.random.split(jax.random.key(0), 3)
  shapes = ((BATCH, length, 1, 1, width), (BATCH, length, 1, width), (BATCH, length, 1, 64))
  vectors = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]

  def energy(params, q, k, v):
    out, _ = nnx.merge(graphdef, params, rest)(q, k, v, whole, block=block or None)
    return jnp.square(out).sum()

  gradients = jax.jit(jax.value_and_grad(energy, argnums=(0, 1, 2, 3)))

  def call() -> None:
    jax.block_until_ready(gradients(params, *vectors))

  return call
