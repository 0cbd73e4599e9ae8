"""Look up the token that stands in a given relation to oneself, a symmetric one or not: what tied Q = K can do."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.errors import Refused
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole


class Partner(Task):
  """All names once, in random order, each with a random value; every token must say the value of its partner.

  The partner of name i is i + 1 modulo `names` (asymmetric: a is not the partner of its partner) or, with `symmetric`,
  the other one of the pair (0, 1), (2, 3), ... One row with names=4, symmetric=False::

      name     2  0  3  1
      value    7  1  1  5
      target   1  5  1  7      the values of 3, 1, 0 and 2

  Order carries no information. Scores of tied queries and keys (Kitaev et al. 2020) are symmetric in the two tokens,
  and a token's score with itself is the largest one can expect: that is what this task puts to the test.
  """

  def __init__(self, *, names: int = 16, values: int = 16, symmetric: bool = False):
    self.names, self.values, self.symmetric = whole("names", names, 3), whole("values", values, 2), symmetric
    if flag("symmetric", symmetric) and names % 2:
      raise Refused(f"task.names={names} leaves one name without a partner under task.symmetric; give an even number")
    self.vocabulary = Vocabulary((names, values), values)
    self.floor, self.ceiling, self.exact_entropy = 1 / values, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `names` tokens."""
    order_key, value_key = jax.random.split(key)
    name_BT = jnp.argsort(jax.random.uniform(order_key, (size, self.names)), -1).astype(jnp.int32)
    value_BN = jax.random.randint(value_key, (size, self.names), 0, self.values)  # by name
    partner_BT = name_BT ^ 1 if self.symmetric else (name_BT + 1) % self.names
    tokens_BTC = jnp.stack([name_BT, jnp.take_along_axis(value_BN, name_BT, 1)], -1)
    targets_BTR = jnp.take_along_axis(value_BN, partner_BT, 1)[..., None]
    inputs = Inputs(tokens_BTC, mask.rows(self.names))
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), jnp.zeros_like(targets_BTR))
