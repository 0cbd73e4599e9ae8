"""Packs short sequence pairs into rows of fixed width, first fit within a few open rows."""

import numpy as np

OPEN = 8  # rows that a lane keeps open
LANES = 64  # independent packers, so that numpy advances all of them at once


def first_fit(sizes_NP: np.ndarray, width: int) -> np.ndarray:
  """Row number of each item, in order, such that in every part p the sizes of a row sum to at most `width`.

  An item goes into the first of its lane's open rows with room in all parts; when there is none, the fullest open
  row is closed and a new one opened. Rows are numbered 0, 1, ... without gaps.
  """
  if sizes_NP.size and sizes_NP.max() > width:
    raise ValueError(f"an item of size {sizes_NP.max()} does not fit into a row of {width}")
  count, parts = sizes_NP.shape
  lanes = min(LANES, max(1, count // (4 * OPEN)))
  steps = -(-count // lanes)
  padded = np.zeros((steps * lanes, parts), np.int64)
  padded[:count] = sizes_NP
  room_LOP = np.full((lanes, OPEN, parts), width)
  row_LO = np.arange(lanes * OPEN).reshape(lanes, OPEN)
  opened, lane_L, rows = lanes * OPEN, np.arange(lanes), []
  for sizes_LP in padded.reshape(steps, lanes, parts):
    fits_LO = (room_LOP >= sizes_LP[:, None]).all(2)
    full_L = np.flatnonzero(fits_LO.sum(1) == 0)
    slot_L = fits_LO.argmax(1)
    if len(full_L):
      slot_L[full_L] = room_LOP[full_L].sum(2).argmin(1)
      room_LOP[full_L, slot_L[full_L]] = width
      row_LO[full_L, slot_L[full_L]] = opened + np.arange(len(full_L))
      opened += len(full_L)
    room_LOP[lane_L, slot_L] -= sizes_LP
    rows.append(row_LO[lane_L, slot_L])
  return np.unique(np.concatenate(rows)[:count], return_inverse=True)[1].reshape(count)


def offsets(row_N: np.ndarray, size_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(first column, place within the row from 0) of each item when the items of a row stand side by side, in order."""
  order = np.argsort(row_N, kind="stable")
  sizes, first = size_N[order], np.flatnonzero(np.diff(row_N[order], prepend=-1))
  lengths = np.diff(np.append(first, len(order)))
  before = np.cumsum(sizes) - sizes
  start, place = np.empty_like(size_N), np.empty_like(size_N)
  start[order] = before - np.repeat(before[first], lengths)
  place[order] = np.arange(len(order)) - np.repeat(first, lengths)
  return start, place
