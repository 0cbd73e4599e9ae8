"""Keeps a worker's memory bounded: what it compiled goes, oldest first, when the process has grown too large.

A compiled program costs a CPU process 15 to 30 MB, and tracing it as much again. What is dropped comes back from the
cache of compiled programs on the disk.
"""

import collections
import ctypes
import gc
import sys
from typing import Any

MOST = 800 * 2**20  # bytes of a process above which it is trimmed
ENOUGH = 600 * 2**20  # to what it is trimmed, if programs are what fills it
GROWTH = 100 * 2**20  # a process that cannot be trimmed (large data) is left alone until it has grown by so much again


class Trimmer:
  """Drops traces, then programs, where the process holds more than MOST bytes."""

  def __init__(self, most: float = MOST, enough: float = ENOUGH, base: float = 0.0):
    """`base`: what the process holds from the start; an accelerator's driver alone takes more than MOST."""
    room = max(0.0, base - enough / 2)
    self.most, self.enough = most + room, enough + room
    self.limit = self.most

  def trim(self, held: "collections.OrderedDict[str, Any]") -> list[str]:
    """The names of what was dropped from `held`, whose last entry is in use and stays."""
    dropped: list[str] = []
    if used() <= self.limit:
      return dropped
    _release()
    while used() > self.enough and len(held) > 1:
      dropped += [held.popitem(last=False)[0] for _ in range((len(held) + 1) // 2)]
      _release()
    self.limit = max(self.most, used() + GROWTH)
    return dropped


def used() -> int:
  """Bytes of memory that this process holds (Linux); 0 where the system does not tell."""
  try:
    with open("/proc/self/statm") as file:
      pages = int(file.read().split()[1])
  except OSError:
    return 0
  import resource

  return pages * resource.getpagesize()


def _release() -> None:
  """Forgets what jax has traced, and gives free memory back to the system (glibc keeps it otherwise)."""
  import jax

  jax.clear_caches()
  gc.collect()
  if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
    libc.malloc_trim(0)
