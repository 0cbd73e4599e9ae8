"""Associative recall with several relations: every query token carries m keys and must name their m values.

Follows multi-query associative recall (Arora et al. 2024, "Zoology"), with m slot-specific keys per query so that one
attention pattern per slot is needed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.chance import expected_entropy, expected_mode
from train.tasks.task import Batch, Task, real, whole


class Recall(Task):
  """Read (key, value) pairs, then answer queries about them; loss on the query tokens only.

  A token has 2 + relations fields; 0 means that the field is empty. One row with pairs=3, queries=2, relations=2::

      field     memory ......   queries
      key       7    2    5     0    0
      value     3    1    3     0    0
      query_1   0    0    0     5    2      keys are distinct within a row
      query_2   0    0    0     2    2      asked keys are independent draws
      target_1  -    -    -     2    0      value 3 is class 2
      target_2  -    -    -     0    0

  Difficulty: `relations` (how many attention patterns a query needs); `distractors` (pairs whose key is never asked);
  `hops` (the memory has that many equal levels; a pair of any but the last level holds as value the number of a key of
  the next level, a query asks for a key of the first and is answered by the value read at the last, so attention must
  run `hops` times); `noise` (share of the asked keys that are blanked out although the answer is still due).
  Memory order carries no information. Slices are the relations.
  """

  def __init__(
    self,
    *,
    pairs: int = 12,
    keys: int = 32,
    values: int = 16,
    queries: int = 6,
    relations: int = 4,
    distractors: int = 0,
    hops: int = 1,
    noise: float = 0.0,
  ):
    self.pairs, self.distractors = whole("pairs", pairs, 1), whole("distractors", distractors, 0)
    self.keys, self.values = whole("keys", keys, 1), whole("values", values, 2)
    self.queries, self.relations = whole("queries", queries, 1), whole("relations", relations, 1)
    self.hops, self.noise = whole("hops", hops, 1), real("noise", noise, 0.0, 1.0)
    if pairs + distractors > keys:
      raise Refused(f"task.pairs + task.distractors is {pairs + distractors}, above task.keys={keys}; raise task.keys")
    if pairs % hops:
      raise Refused(f"task.pairs={pairs} does not divide into task.hops={hops} equal levels; change one of them")
    if hops > 1 and values > keys:
      raise Refused(f"task.values={values} is above task.keys={keys}; with task.hops={hops} a value must name a key")
    if noise and (hops > 1 or distractors):
      raise Refused(f"task.noise={noise} goes with hops=1 and distractors=0, where its ceiling is known; set those")
    field = max(keys, values) if hops > 1 else values
    self.vocabulary = Vocabulary((keys + 1, field + 1) + (keys + 1,) * relations, values, relations)
    self.slices = tuple(f"relation {i + 1}" for i in range(relations))
    self.floor = 1 / values
    self.ceiling = 1 - noise + noise * expected_mode(pairs, values)
    self.exact_entropy = noise * expected_entropy(pairs, values)

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of pairs + distractors memory tokens in random order, then `queries` query tokens."""
    P, Q, R, N = self.pairs + self.distractors, self.queries, self.relations, self.pairs
    level = N // self.hops
    mixed = level < P  # otherwise all pairs are alike and already in random order
    widths = [self.keys, P, Q * R, P * (self.hops > 1), P * mixed, Q * R * bool(self.noise)]
    # One call to the generator: a remainder of 32 random bits is uniform up to 1e-7 for all sizes met here.
    bits = jax.random.bits(key, (size, sum(widths)))
    key_bits, value_bits, asked_bits, link_bits, order_bits, noise_bits = jnp.split(bits, np.cumsum(widths)[:-1], 1)
    keys_BP, values_BP = _ranks(key_bits, P) + 1, _below(value_bits, self.values) + 1
    asked_BA = final_BA = _below(asked_bits, level)
    if self.hops > 1:
      index_P = jnp.arange(P)
      link_P = index_P < N - level
      next_BP = jnp.where(link_P, (index_P // level + 1) * level + _below(link_bits, level), 0)
      values_BP = jnp.where(link_P, _take(keys_BP, next_BP), values_BP)
      for _ in range(self.hops - 1):
        final_BA = _take(next_BP, final_BA)
    query_BA, answer_BA = _take(keys_BP, asked_BA), _take(values_BP, final_BA)
    if mixed:
      order_BP = _ranks(order_bits, P)
      keys_BP, values_BP = _take(keys_BP, order_BP), _take(values_BP, order_BP)
    if self.noise:
      query_BA = jnp.where(noise_bits < np.uint32(min(self.noise * 2**32, 2**32 - 1)), 0, query_BA)
    memory_BPC = jnp.concatenate([jnp.stack([keys_BP, values_BP], -1), jnp.zeros((size, P, R), jnp.int32)], -1)
    query_BQR = query_BA.reshape(size, Q, R)
    tokens_BTC = jnp.concatenate([memory_BPC, jnp.pad(query_BQR, ((0, 0), (0, 0), (2, 0)))], 1)
    targets_BTR = jnp.pad(answer_BA.reshape(size, Q, R) - 1, ((0, 0), (P, 0), (0, 0)))
    weights_BTR = jnp.broadcast_to((jnp.arange(P + Q) >= P)[None, :, None], targets_BTR.shape).astype(jnp.float32)
    slice_BTR = jnp.broadcast_to(jnp.arange(R, dtype=jnp.int32), targets_BTR.shape)
    return Batch(Inputs(tokens_BTC, mask.rows(P + Q)), targets_BTR, weights_BTR, slice_BTR)


def _below(bits: jax.Array, bound: int) -> jax.Array:
  return (bits % bound).astype(jnp.int32)


def _ranks(bits_BN: jax.Array, count: int) -> jax.Array:
  """The first `count` places of a random permutation of 0..N-1: ranks by counting, much faster here than a sort."""
  low = np.uint32((1 << max(1, (bits_BN.shape[1] - 1).bit_length())) - 1)
  distinct_BN = bits_BN & ~low | jnp.arange(bits_BN.shape[1], dtype=jnp.uint32)  # ties go by index
  return (distinct_BN[:, None, :] < distinct_BN[:, :count, None]).sum(2, dtype=jnp.int32)


def _take(table_BP: jax.Array, index_BA: jax.Array) -> jax.Array:
  return jnp.take_along_axis(table_BP, index_BA, axis=1)
