"""ListOps (Nangia & Bowman 2018; Tay et al. 2021): the value of a nested expression, which takes its whole tree."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.errors import Refused
from model.language import Inputs
from model.mask import Positions
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, real, whole

DIGITS = 10
MIN, MAX, MED, SM, CLOSE, PAD = range(DIGITS, DIGITS + 6)  # the digits are their own symbols
OPERATORS = (MIN, MAX, MED, SM)
LEAST = 4  # tokens of the shortest expression: operator, two arguments, closing bracket


class Listops(Task):
  """Smallest, largest, median and sum modulo 10 of digits and further expressions; asked at the last closing bracket.

  The median of an even number is the mean of the two in the middle, rounded down. One row with length=12, depth=2; what
  follows the expression is padding (segment 0)::

      tokens   [MAX  4  [SM  6  5  3  ]  0  ]  .  .  .
      targets   -    -   -   -  -  -  -  -  4  -  -  -

  The first operator stands alone; an argument is an operator with probability `chance` (.25 in the papers) as long as
  no more than `depth` are open, or else a uniform digit. The number of arguments is uniform from 2 to `arguments`. So
  that a row has at most `length` tokens, arguments share what room their expression leaves equally, and one with room
  for less than 4 tokens is a digit; the papers drop rows that are too long instead. Slices are the depths of the tree.
  The floor is the largest probability of a value, worked out over all trees.
  """

  def __init__(self, *, length: int = 64, depth: int = 3, arguments: int = 4, chance: float = 0.5):
    self.length, self.depth = whole("length", length, 4), whole("depth", depth, 1)
    self.arguments, self.chance = whole("arguments", arguments, 2), real("chance", chance, 0.0, 1.0)
    deepest = (LEAST + 2) * 2 ** (depth - 1) - 2  # of two arguments at every level
    if length < deepest:
      raise Refused(f"task.length={length} has no room for task.depth={depth}; allowed: {deepest} or more")
    self.vocabulary = Vocabulary((PAD + 1,), DIGITS)
    self.slices = tuple(f"depth {i + 1}" for i in range(depth))
    self.floor = float(value_law(depth, arguments, self.chance, length).max())
    self.ceiling, self.exact_entropy = 1.0, 0.0

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `length` tokens, padding included."""
    tokens_BT, answer_B, deepest_B = jax.vmap(lambda u_T3: _grow(self, u_T3))(
      jax.random.uniform(key, (size, self.length, 3))
    )
    there_BT = tokens_BT != PAD
    place_BT = jnp.broadcast_to(jnp.arange(self.length, dtype=jnp.int32), tokens_BT.shape)
    last_BTR = (place_BT == there_BT.sum(1, keepdims=True) - 1)[..., None]
    targets_BTR = jnp.where(last_BTR, answer_B[:, None, None], 0)
    slice_BTR = jnp.broadcast_to((deepest_B - 1)[:, None, None], targets_BTR.shape)
    inputs = Inputs(tokens_BT[..., None], Positions(place_BT, there_BT.astype(jnp.int32)))
    return Batch(inputs, targets_BTR, last_BTR.astype(jnp.float32), slice_BTR)


class _Stack(NamedTuple):
  """The open expressions of one row by level; level 0 is outside, where a single expression is due."""

  level: jax.Array
  operator_L: jax.Array
  due_L: jax.Array  # arguments still to come
  room_L: jax.Array  # tokens that each argument may take
  count_LV: jax.Array  # arguments by value


def _grow(task: Listops, uniform_T3: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Tokens of one row from left to right, its value and its depth."""
  zeros_L = jnp.zeros(task.depth + 1, jnp.int32)
  outside = _Stack(
    jnp.int32(0), zeros_L, zeros_L.at[0].set(1), zeros_L.at[0].set(task.length), jnp.zeros((len(zeros_L), DIGITS), int)
  )
  end, (token_T, level_T) = jax.lax.scan(functools.partial(_write, task), outside, uniform_T3)
  return token_T, end.count_LV[0].argmax().astype(jnp.int32), level_T.max()


def _write(task: Listops, stack: _Stack, uniform_3: jax.Array) -> tuple[_Stack, tuple[jax.Array, jax.Array]]:
  """One more token: a closing bracket if no argument is due, else an operator or a digit; padding when all is said."""
  nest, symbol, many = uniform_3
  level, level_L = stack.level, jnp.arange(task.depth + 1)
  here_L = level_L == level
  operator, due, room = (jnp.where(here_L, a_L, 0).sum() for a_L in (stack.operator_L, stack.due_L, stack.room_L))
  said = (level == 0) & (due == 0)
  closes = (level > 0) & (due == 0)
  opens = (due > 0) & (level < task.depth) & (room >= LEAST) & ((level == 0) | (nest < task.chance))

  digit, drawn = (symbol * DIGITS).astype(jnp.int32), OPERATORS[0] + (symbol * len(OPERATORS)).astype(jnp.int32)
  arguments = 2 + (many * (jnp.clip(room - 2, 2, task.arguments) - 1)).astype(jnp.int32)
  token = jnp.where(closes, CLOSE, jnp.where(opens, drawn, digit))
  value = jnp.where(closes, _value(operator, jnp.where(here_L[:, None], stack.count_LV, 0).sum(0)), digit)

  new_L = opens & (level_L == level + 1)
  gains_L = jnp.where(closes, level_L == level - 1, here_L & ~opens & ~said)
  gain_LV = gains_L[:, None] & (jnp.arange(DIGITS) == value)
  after = _Stack(
    level + opens - closes,
    jnp.where(new_L, drawn, stack.operator_L),
    jnp.where(new_L, arguments, stack.due_L - (here_L & (due > 0))),
    jnp.where(new_L, (room - 2) // arguments, stack.room_L),
    jnp.where(new_L[:, None], 0, stack.count_LV + gain_LV),
  )
  return after, (jnp.where(said, PAD, token), after.level)


def _value(operator: jax.Array, count_V: jax.Array) -> jax.Array:
  """The value of an operator on as many arguments of each value as `count_V` says."""
  upto_V = jnp.cumsum(count_V)
  total = upto_V[-1]

  def at(rank):  # the argument of that rank, counted from 0
    return (upto_V <= rank).sum(dtype=jnp.int32)

  median = (at((total - 1) // 2) + at(total // 2)) // 2
  results = (at(0), at(total - 1), median, (count_V * jnp.arange(DIGITS)).sum() % DIGITS)
  return jnp.select([operator == one for one in OPERATORS], results)


@functools.cache
def value_law(depth: int, arguments: int, chance: float, room: int) -> np.ndarray:
  """Probability of each value of an expression of at most `depth` levels and `room` tokens."""
  laws = []
  for count in range(2, min(arguments, room - 2) + 1):
    share, argument_V = (room - 2) // count, np.full(DIGITS, 1 / DIGITS)
    if depth > 1 and share >= LEAST:
      argument_V = (1 - chance) * argument_V + chance * value_law(depth - 1, arguments, chance, share)
    laws.append(operator_laws(argument_V, count).mean(0))
  return np.mean(laws, 0)


def operator_laws(argument_V: np.ndarray, count: int) -> np.ndarray:
  """Laws of the four operators on `count` independent arguments of one law, as rows in the order of OPERATORS."""
  upto_V = np.minimum(np.cumsum(argument_V), 1.0)
  before_V = np.append(0.0, upto_V[:-1])
  sum_V = np.eye(1, DIGITS)[0]
  for _ in range(count):
    sum_V = sum((argument_V[v] * np.roll(sum_V, v) for v in range(DIGITS)), np.zeros(DIGITS))
  smallest_V = (1 - before_V) ** count - (1 - upto_V) ** count
  return np.stack([smallest_V, upto_V**count - before_V**count, _median_law(upto_V, before_V, count), sum_V])


def _median_law(upto_V: np.ndarray, before_V: np.ndarray, count: int) -> np.ndarray:
  """Law of the rounded-down mean of the two arguments in the middle (of the middle one twice, if `count` is odd)."""
  half = (count + 1) // 2  # rank of the lower one, from 1
  ranks = [math.comb(count, j) * upto_V**j * (1 - upto_V) ** (count - j) for j in range(half, count + 1)]
  lower_V = np.diff(sum(ranks, np.zeros(DIGITS)), prepend=0.0)
  if count % 2:
    return lower_V
  # P(lower = a, upper = b) for a < b: half of the arguments have maximum a and the others minimum b.
  maximum_V, minimum_V = upto_V**half - before_V**half, (1 - before_V) ** half - (1 - upto_V) ** half
  law_V = lower_V.copy()
  for a in range(DIGITS):
    for b in range(a + 1, DIGITS):
      joint = math.comb(count, half) * maximum_V[a] * minimum_V[b]
      law_V[a] -= joint
      law_V[(a + b) // 2] += joint
  return law_V
