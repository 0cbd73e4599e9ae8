"""What the tests of sparse mechanisms share: packed rows, both paths in one program, the arrays of a program."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from model.mask import Mask, Positions, rows
from tests.model.attention import cases
from tests.model.attention.oracles_sparse import Row

K, G, D = 2, 2, 4


def packed(length, first=19):
  """Row 0: two documents and three columns of padding; row 1: one document that begins at position 3."""
  rest = length - first - 3
  pos = np.array([[*range(first), *range(rest), 0, 0, 0], [*range(3, length + 3)]], np.int32)
  segment = np.array([[1] * first + [2] * rest + [0] * 3, [1] * length], np.int32)
  return Positions(pos, segment)


def marks(length, seed=0):
  """About one column in ten."""
  return np.random.default_rng(seed).random((2, length)) < 0.1


def rows_of(positions, mark_BT):
  """The rows as the oracle reads them."""
  return [Row(*(tuple(a.tolist()) for a in row)) for row in zip(*positions, mark_BT, strict=True)]


def vectors(length, views, seed=0, dtype=np.float32):
  """q, k and v, each a list with one array per view."""
  sets = [
    cases.qkv(K, G, queries=length, keys=length, head_dim=D, value_dim=D, seed=seed + i, dtype=dtype)
    for i in range(views)
  ]
  return [list(side) for side in zip(*sets, strict=True)]


def both(made, qkv, positions, rule, mark_BT=None, scheme=None, traced=True, slopes=True):
  """(out, lse, gradients) of the efficient path, and of over_cache() over keys in another order, in one program."""
  length = positions.pos_BT.shape[1]
  order = np.random.default_rng(1).permutation(length)
  target = np.random.default_rng(2).normal(size=(2, length, K, G, D)).astype(np.float32)
  give = (lambda side: side[0]) if made.views == 1 else tuple
  shuffled = lambda a: jnp.broadcast_to(jnp.asarray(a), (2, *a.shape[1:]))[:, order]  # noqa: E731

  def efficient(qkv, positions, mark_BT):
    return made(*map(give, qkv), Mask(positions, positions, rule, mark_BT), scheme)

  def dense(qkv, positions, mark_BT):
    q, k, v = qkv
    k, v = ([shuffled(a) for a in side] for side in (k, v))
    mark_BS = None if mark_BT is None else shuffled(mark_BT)
    mask = Mask(positions, Positions(*map(shuffled, positions)), rule, mark_BS)
    return made.over_cache(*map(give, (q, k, v)), mask, scheme)

  def solve(path, qkv, positions, mark_BT):
    def loss(qkv):
      out, lse = path(qkv, positions, mark_BT)
      return (out * target).sum() + jnp.where(jnp.isfinite(lse), lse, 0.0).sum(), (out, lse)

    if not slopes:
      return *loss(qkv)[1], []
    grads, (out, lse) = jax.grad(loss, has_aux=True)(qkv)
    return out, lse, jax.tree.leaves(grads)

  def program(qkv, given, mark_BT):
    here = given if traced else positions
    return tuple(solve(path, qkv, here, mark_BT) for path in (efficient, dense))

  return jax.device_get(jax.jit(program)(qkv, positions, mark_BT))


def close(a, b, atol=1e-5):
  np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=atol)


def check(made, qkv, positions, rule, expected=None, **given):
  """The efficient path equals over_cache in outputs and gradients, and the oracle's (out, lse) where one is given.

  traced: positions are arguments of the program; otherwise numpy constants. slopes: gradients too.
  """
  (out, lse, grads), (dense, dense_lse, dense_grads) = both(made, qkv, positions, rule, **given)
  close(out, dense)
  close(lse, dense_lse)
  for ours, theirs in zip(grads, dense_grads, strict=True):
    close(ours, theirs, atol=3e-5)
  if expected is not None:
    close(out, expected[0])
    close(lse, expected[1])


def largest(made, length, rule, head_dim=4):
  """The number of elements of the largest array in the program of the output and its gradients, one head."""
  q, k, v = cases.qkv(1, 1, batch=1, queries=length, keys=length, head_dim=head_dim, value_dim=head_dim)
  give = (lambda a: a) if made.views == 1 else (lambda a: (a, a))

  def loss(qkv, segment_BT):
    positions = Positions(rows(length).pos_BT, segment_BT)
    return made(*map(give, qkv), Mask(positions, positions, rule), None)[0].sum()

  jaxpr = jax.make_jaxpr(jax.grad(loss))((q, k, v), np.ones((1, length), np.int32))
  return max(size for size in _sizes(jaxpr.jaxpr))


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    yield from (variable.aval.size for variable in equation.outvars if hasattr(variable.aval, "size"))
    for inner in jaxprs_in_params(equation.params):
      yield from _sizes(inner)


def slopes(made, qkv, positions, rule, mark_BT=None):
  """Pairs (finite difference, gradient), one per array of q, k and v, along a random direction, in float64."""
  rng = np.random.default_rng(3)
  give = (lambda side: side[0]) if made.views == 1 else tuple
  target = rng.normal(size=(2, positions.pos_BT.shape[1], K, G, D))

  @jax.jit
  @jax.value_and_grad
  def loss(qkv):
    return (made(*map(give, qkv), Mask(positions, positions, rule, mark_BT), None)[0] * target).sum()

  slope = loss(qkv)[1]
  leaves, tree = jax.tree.flatten(qkv)
  found = []
  for i, by in enumerate(jax.tree.leaves(slope)):
    step = 1e-5 * rng.normal(size=by.shape)
    moved = ([a + sign * step if i == j else a for j, a in enumerate(leaves)] for sign in (1, -1))
    ahead, behind = (float(loss(jax.tree.unflatten(tree, one))[0]) for one in moved)
    found.append(((ahead - behind) / 2, float((by * step).sum())))
  return found
