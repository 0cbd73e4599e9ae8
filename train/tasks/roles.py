"""Who does what to whom: roles follow from order in a grammar of fixed word order, from case in a free one."""

from typing import Any

import jax
import jax.numpy as jnp

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, flag, whole


class Roles(Task):
  """Clauses of a verb and two nouns from one set; every noun must say whether it acts (0) or is acted upon (1).

  Fixed order is noun, verb, noun. With `free` the three words of a clause stand in any order and nouns bear their case
  (field 2: 1 acts, 2 is acted upon). Clauses are whole and each verb is its own (field 3 is the number of the clause).
  One row with clauses=1, nouns=8 (a verb is number `nouns` or above)::

      word     3  9  6          with free:   word  6  3  9
      case     0  0  0                       case  2  1  0
      clause   0  0  0                       clause 0 0  0
      target   0  -  1                       target 1 0  -

  Without order or case the two nouns are exchangeable, and no model is right more than half the time.
  """

  def __init__(self, *, clauses: int = 4, nouns: int = 16, verbs: int = 8, free: bool = False):
    self.clauses, self.nouns = whole("clauses", clauses, 1), whole("nouns", nouns, 2)
    self.verbs, self.free = whole("verbs", verbs, 1), flag("free", free)
    self.vocabulary = Vocabulary((nouns + verbs, 3, clauses), 2)
    self.floor, self.ceiling, self.exact_entropy = 0.5, 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of 3 * clauses words."""
    noun_key, verb_key, order_key = jax.random.split(key, 3)
    shape = (size, self.clauses)
    noun_BN2 = jax.random.randint(noun_key, (*shape, 2), 0, self.nouns)
    verb_BN1 = jax.random.randint(verb_key, (*shape, 1), self.nouns, self.nouns + self.verbs)
    word_BN3 = jnp.concatenate([noun_BN2[..., :1], verb_BN1, noun_BN2[..., 1:]], -1)
    role_BN3 = jnp.broadcast_to(jnp.array([1, 0, 2]), word_BN3.shape)  # acts, verb, is acted upon
    if self.free:
      order_BN3 = jnp.argsort(jax.random.uniform(order_key, word_BN3.shape), -1)
      word_BN3, role_BN3 = (jnp.take_along_axis(a, order_BN3, -1) for a in (word_BN3, role_BN3))
    case_BN3 = role_BN3 if self.free else jnp.zeros_like(role_BN3)
    clause_BN3 = jnp.broadcast_to(jnp.arange(self.clauses)[:, None], word_BN3.shape)
    tokens_BTC = jnp.stack([a.reshape(size, -1) for a in (word_BN3, case_BN3, clause_BN3)], -1).astype(jnp.int32)
    role_BTR = role_BN3.reshape(size, -1, 1)
    targets_BTR, weights_BTR = jnp.maximum(role_BTR - 1, 0), (role_BTR > 0).astype(jnp.float32)
    inputs = Inputs(tokens_BTC, mask.rows(3 * self.clauses))
    return Batch(inputs, targets_BTR, weights_BTR, jnp.zeros_like(targets_BTR))
