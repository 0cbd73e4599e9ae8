"""Content at a named address, or the address itself: what keys that are also the values (K = V) can and cannot do."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole


class Lookup(Task):
  """Every token has an address and an unrelated content, and asks for the content at the address of another token.

  One row with length=4, addresses=14, contents=5; numbers count from 1, classes from 0::

      address   9  2 13  5        with same:   address   9  2 13  5
      content   2  5  2  3                     content   0  0  0  0
      asked     5  9  2  9                     asked     6  9  1 10
      target    2  1  4  1                     target    4  8  1  8

  Addresses are distinct, their order and the contents carry no information. Where keys are the values, one vector must
  hold the address, by which it is found, and the content, for which it is read, without one disturbing the other.

  With `same` the content is the address: the question misses an address by one or by none (on a ring, where those of a
  row are at least 3 apart), and the answer is the address that is there. What is matched is then what is read, and keys
  that are values lose nothing. Whoever does not look has three answers to choose from. `contents` plays no part in it.
  """

  def __init__(self, *, length: int = 12, addresses: int = 48, contents: int = 16, same: bool = False):
    self.length, self.addresses = whole("length", length, 2), whole("addresses", addresses, 2)
    self.contents, self.same = whole("contents", contents, 2), flag("same", same)
    if addresses < length * (4 if same else 1):
      needed = f"4 * task.length under task.same: {4 * length}" if same else f"task.length={length}"
      raise Refused(f"task.addresses is {addresses}; allowed: at least {needed}; raise it or lower task.length")
    outputs = addresses if same else contents
    self.vocabulary = Vocabulary((addresses + 1, contents + 1, addresses + 1), outputs)
    self.floor, self.ceiling, self.exact_entropy = 1 / outputs, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` tokens."""
    T, gap = self.length, 3 if self.same else 1
    free = self.addresses - (gap - 1) * T
    uniform = jax.random.uniform(key, (size, 2 * T + 1 + free))  # one call to the generator: compiles and runs faster
    content_BT, other_BT, turn_B1, choice_BN = jnp.split(uniform, (T, 2 * T, 2 * T + 1), 1)
    address_BT = (_apart(choice_BN, T, gap) + (turn_B1 * self.addresses).astype(jnp.int32)) % self.addresses
    other_BT = (jnp.arange(T) + 1 + (other_BT * (T - 1)).astype(jnp.int32)) % T
    asked_BT = jnp.take_along_axis(address_BT, other_BT, 1)
    if self.same:
      targets_BT, miss_BT = asked_BT, (content_BT * 3).astype(jnp.int32) - 1
      content_BT, asked_BT = jnp.full_like(asked_BT, -1), (asked_BT + miss_BT) % self.addresses
    else:
      content_BT = (content_BT * self.contents).astype(jnp.int32)
      targets_BT = jnp.take_along_axis(content_BT, other_BT, 1)
    inputs = Inputs(jnp.stack([address_BT, content_BT, asked_BT], -1) + 1, mask.rows(self.length))
    targets_BTR = targets_BT[..., None]
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), jnp.zeros_like(targets_BTR))


def _apart(uniform_BN: jax.Array, count: int, gap: int) -> jax.Array:
  """`count` numbers in random order, at least `gap` apart on a ring of N + (gap - 1) * count; N numbers draw them."""
  choice_BT = jnp.argsort(uniform_BN, -1).astype(jnp.int32)[:, :count]
  # The ring of N lacks gap - 1 places after every chosen one: put them back.
  before_BT = (choice_BT[:, None, :] < choice_BT[:, :, None]).sum(2, dtype=jnp.int32)
  return choice_BT + (gap - 1) * before_BT
