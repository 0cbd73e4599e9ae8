"""What the length of the context costs, in operations, memory and time, and what sparse attention spares.

Operations and memory are the compiler's count, forward and backward; time as in attention_growth, each mechanism in
turn within a repeat.
"""

import functools
import math

import jax

from experiments.bench import attention_growth, growth, timing
from experiments.claims.grid import Samples

REPEATS = 12  # units
SIZE = attention_growth.Size(batch=1, heads=4, head_dim=32, rule="causal")
DENSE = attention_growth.Subject("dense", {"kind": "dot"})
BLOCKWISE = attention_growth.Subject("blockwise", {"kind": "dot"}, 256)
SPARSE = {
  "window": {"kind": "banded", "window": 64},
  "blocks": {"kind": "block_sparse"},
  "hashing": {"kind": "lsh", "chunk": 64, "rounds": 2},
}
SHORT, LONG = 512, 2048
MEMORY_LENGTHS = (1024, 2048, 4096, 8192)
GIB = 2.0**30


def memory() -> Samples:
  """CTX-2: exponent of temporary memory in length over 1024 to 8192 tokens, scores all at once and by blocks of keys.

  CTX-5: the longest row, in tokens, that fits in 1 GiB by the curve through the last two lengths.
  """
  samples = Samples()
  for subject in (DENSE, BLOCKWISE):
    sizes = [_reserved(subject, length) for length in MEMORY_LENGTHS]
    samples.add(
      **{
        f"{subject.name}: exponent of memory": growth.exponent(MEMORY_LENGTHS, sizes),
        f"{subject.name}: tokens in 1 GiB": _fits(sizes[-2:], MEMORY_LENGTHS[-2:]),
      }
    )
  return samples


def _fits(sizes, lengths) -> float:
  exponent = growth.exponent(lengths, sizes)
  return lengths[-1] * (GIB / sizes[-1]) ** (1 / exponent)


def time() -> Samples:
  """CTX-5, CTX-6a: exponent of time from 512 to 2048 tokens, per mechanism and repeat; and time per token, log2 of
  2048 over 512.
  """
  subjects = [DENSE, BLOCKWISE, *(attention_growth.Subject(name, options) for name, options in SPARSE.items())]
  calls = {(one.name, length): _call(one, length) for one in subjects for length in (SHORT, LONG)}
  for call in calls.values():
    call()
  samples = Samples()
  doublings = math.log2(LONG / SHORT)
  for seconds in timing.rounds({name: timing.Turn(call) for name, call in calls.items()}, REPEATS):
    for one in subjects:
      exponent = math.log2(seconds[one.name, LONG] / seconds[one.name, SHORT]) / doublings
      samples.add(**{one.name: exponent, f"{one.name}: time per token": (exponent - 1) * doublings})
  return samples


def _reserved(subject: attention_growth.Subject, length: int) -> int:
  function, inputs = attention_growth.attention(subject, length, SIZE)
  memory = jax.jit(function).lower(*inputs).compile().memory_analysis()
  assert memory is not None
  return memory.temp_size_in_bytes


def _call(subject: attention_growth.Subject, length: int):
  function, inputs = attention_growth.attention(subject, length, SIZE)
  program = jax.jit(function)
  return functools.partial(lambda: jax.block_until_ready(program(*inputs)) and None)
