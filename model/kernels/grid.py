"""Columns laid out so that blocks hold documents from their first token on: the n-th block of a document in one block.

A document of more than a block moves to a multiple of the block's size, a shorter one to where it lies in one block.
Twice the columns leave room for that, wherever the documents are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels import cutting
from model.mask import Positions


class Grid(NamedTuple):
  """Where columns move to, and which block of its document each block is, of how many; R is the batch or 1.

  A block that holds the end of a long document and short ones counts for the long one.
  """

  to_RT: jax.Array | None  # None: every column stays
  size: int
  length: int  # of a row, before
  blocks: int
  place_RN: jax.Array
  count_RN: jax.Array


def lay(positions: Positions, size: int) -> Grid:
  """The layout of aligned rows; columns stay if numpy segments tell that documents begin where blocks do."""
  length, column_T = positions.pos_BT.shape[1], np.arange(positions.pos_BT.shape[1], dtype=np.int32)
  segment_RT, edge_R1 = jnp.asarray(positions.segment_BT), np.ones((positions.segment_BT.shape[0], 1), bool)
  new_RT = segment_RT[:, 1:] != segment_RT[:, :-1]
  starts_RT, ends_RT = jnp.concatenate([edge_R1, new_RT], 1), jnp.concatenate([new_RT, edge_R1], 1)
  start_RT = jax.lax.cummax(jnp.where(starts_RT, column_T, 0), 1)
  end_RT = jax.lax.cummin(jnp.where(ends_RT, column_T, length), 1, reverse=True)
  to_RT, blocks = None, -(-length // size)
  if not _stays(positions, size):
    first_RT = 2 * start_RT
    fits_RT = first_RT % size + end_RT - start_RT < size
    to_RT = jnp.where(fits_RT, first_RT, first_RT + -first_RT % size) + column_T - start_RT
    blocks = -(-2 * length // size)
  place_RN, last_RN = (
    _moved(a, to_RT, blocks * size)[:, ::size] for a in ((column_T - start_RT) // size, (end_RT - start_RT) // size)
  )
  return Grid(to_RT, size, length, blocks, place_RN, last_RN + 1)


def spread(grid: Grid, rows):
  """Arrays (B|1, T, ...) with their columns moved; what lies between is empty, that is of segment 0."""
  return jax.tree.map(lambda a: _moved(jnp.asarray(a), grid.to_RT, grid.blocks * grid.size), rows)


def collect(grid: Grid, out_BTKGD, lse_BKGT):
  """Undoes `spread`."""
  if grid.to_RT is None:
    return out_BTKGD[:, : grid.length], lse_BKGT[..., : grid.length]
  rows_B1 = jnp.arange(out_BTKGD.shape[0])[:, None]
  lse_BTKG = jnp.moveaxis(lse_BKGT, 3, 1)[rows_B1, grid.to_RT]
  return out_BTKGD[rows_B1, grid.to_RT], jnp.moveaxis(lse_BTKG, 1, 3)


def blocks_at(grid: Grid, listed_RNJ):
  """Where the listed blocks of each block's document stand, and whether they are there and not listed before."""
  there_RNJ = (listed_RNJ >= 0) & (listed_RNJ < grid.count_RN[..., None])
  same_RNJJ = listed_RNJ[..., :, None] == listed_RNJ[..., None, :]
  again_RNJ = (same_RNJJ & np.tri(listed_RNJ.shape[-1], k=-1, dtype=bool)).any(-1)
  first_RN = np.arange(grid.blocks, dtype=np.int32) - grid.place_RN
  return (first_RN[..., None] + listed_RNJ).clip(0, grid.blocks - 1), there_RNJ & ~again_RNJ


def _stays(positions: Positions, size: int) -> bool:
  """Whether all documents are seen to begin at multiples of `size`; traced ones are not."""
  segment_RT = positions.segment_BT
  if not isinstance(segment_RT, np.ndarray):
    return False
  _, before_X = np.nonzero((segment_RT[:, 1:] != segment_RT[:, :-1]) & (segment_RT[:, 1:] > 0))
  return bool(((before_X + 1) % size == 0).all())


def _moved(a, to_RT, whole: int):
  if to_RT is None:
    return cutting.padded(a, whole)
  count = max(a.shape[0], to_RT.shape[0])
  empty = jnp.zeros((count, whole, *a.shape[2:]), a.dtype)
  return empty.at[jnp.arange(count)[:, None], to_RT].set(a)
