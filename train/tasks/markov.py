"""Language modeling of a Markov chain, whose entropy rate -sum_i pi_i sum_j P_ij log P_ij is known exactly."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model import mask
from model.language import Inputs
from model.vocabulary import Vocabulary
from train.tasks.task import Batch, Task, check_split, real, whole

SALT = 20170612  # of the transition matrix and of the finite training sets


class Markov(Task):
  """Predict the next state. Every row starts in the stationary law, so each target costs the entropy rate at least.

  One row with length=5 (six states are drawn)::

      tokens   3  3  8  1  0
      targets  3  8  1  0  3

  The rows of the transition matrix are drawn once, from a constant: Dirichlet(concentration); small values make
  states predictable. `sequences` = 0 is an endless stream. Otherwise training draws from that many fixed rows
  (set number `table`) while validation and test stay endless, so that over-fitting shows: then a training loss below
  `exact_entropy` is memorization.
  """

  asks_for_next = True

  def __init__(
    self, *, states: int = 16, length: int = 32, concentration: float = 0.2, sequences: int = 0, table: int = 0
  ):
    self.states, self.length = whole("states", states, 2), whole("length", length, 1)
    self.concentration = real("concentration", concentration, 0.01, 1e6)
    self.sequences, self.table = whole("sequences", sequences, 0), whole("table", table, 0)
    self.transition_VV = np.random.default_rng(SALT).dirichlet(np.full(states, self.concentration), states)
    self.stationary_V = _stationary(self.transition_VV)
    self.vocabulary = Vocabulary((states,), states)
    self.floor = float((self.stationary_V @ self.transition_VV).max())
    self.ceiling = float(self.stationary_V @ self.transition_VV.max(1))
    log_VV = np.log(np.where(self.transition_VV > 0, self.transition_VV, 1.0))
    self.exact_entropy = float(-(self.stationary_V @ (self.transition_VV * log_VV).sum(1)))

  def data(self, split: str) -> Any:
    """The fixed training rows, one token longer than the inputs; () for an endless stream."""
    check_split(split)
    if split != "train" or not self.sequences:
      return ()
    random = np.random.default_rng((SALT, self.table))
    return _walk(self, random.random((self.length + 1, self.sequences))).T.astype(np.int32)

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Fresh walks, or rows of `data` where there are any."""
    if len(data):
      walk_BT = jnp.asarray(data)[jax.random.randint(key, (size,), 0, len(data))]
    else:
      walk_BT = _scan(self, jax.random.uniform(key, (self.length + 1, size))).T
    targets_BTR = walk_BT[:, 1:, None]
    inputs = Inputs(walk_BT[:, :-1, None], mask.rows(self.length))
    return Batch(inputs, targets_BTR, jnp.ones(targets_BTR.shape, jnp.float32), jnp.zeros_like(targets_BTR))


def _stationary(transition_VV: np.ndarray) -> np.ndarray:
  # pi (P - 1) = 0 and sum pi = 1, by least squares
  equations = np.vstack([transition_VV.T - np.eye(len(transition_VV)), np.ones(len(transition_VV))])
  solved = np.linalg.lstsq(equations, np.append(np.zeros(len(transition_VV)), 1.0), rcond=None)[0]
  return np.clip(solved, 0, None) / np.clip(solved, 0, None).sum()


def _inverses(task: Markov) -> tuple[np.ndarray, np.ndarray]:
  """Inner bounds of the cumulative laws; a uniform number's state is how many of them it reaches."""
  return np.cumsum(task.stationary_V)[:-1], np.cumsum(task.transition_VV, axis=1)[:, :-1]


def _walk(task: Markov, uniform_TB: np.ndarray) -> np.ndarray:
  first_V, next_VV = _inverses(task)
  states = [(uniform_TB[0][:, None] >= first_V).sum(1)]
  for uniform_B in uniform_TB[1:]:
    states.append((uniform_B[:, None] >= next_VV[states[-1]]).sum(1))
  return np.stack(states)


def _scan(task: Markov, uniform_TB: jax.Array) -> jax.Array:
  first_V, next_VV = (jnp.asarray(bounds, jnp.float32) for bounds in _inverses(task))

  def step(state_B, uniform_B):
    state_B = (uniform_B[:, None] >= next_VV[state_B]).sum(1, dtype=jnp.int32)
    return state_B, state_B

  first_B = (uniform_TB[0][:, None] >= first_V).sum(1, dtype=jnp.int32)
  _, later_TB = jax.lax.scan(step, first_B, uniform_TB[1:], unroll=8)
  return jnp.concatenate([first_B[None], later_TB])
