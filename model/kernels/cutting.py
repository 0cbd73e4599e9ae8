"""Columns cut into pieces of one size, and put together again; what is filled up is zeros, that is of segment 0.

A row of five tokens in pieces of two:  a b c d e  ->  (a b) (c d) (e 0).
"""

import jax.numpy as jnp


def padded(a, length: int, axis: int = 1):
  """The array with zeros behind it, `length` along the axis."""
  return jnp.pad(a, [(0, length - n if i == axis else 0) for i, n in enumerate(a.shape)])


def whole(length: int, size: int) -> int:
  """The length of as many full pieces as hold `length` columns."""
  return length + -length % size


def cut(a, size: int):
  """(B, T, ...) as (B, T / size, size, ...); T is a multiple of the size."""
  return a.reshape(a.shape[0], -1, size, *a.shape[2:])


def joined(a, axis: int):
  """Two axes, `axis` and the next, as one."""
  return a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :])


def stacked(a, size: int):
  """(B, T, ...) as (T / size, B, size, ...), filled up: pieces in front, as a scan takes them."""
  return jnp.moveaxis(cut(padded(a, whole(a.shape[1], size)), size), 1, 0)


def unstacked(a, length: int):
  """Undoes `stacked` for rows of `length` columns."""
  return joined(jnp.moveaxis(a, 0, 1), 1)[:, :length]
