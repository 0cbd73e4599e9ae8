"""Which worker gets which request, so that a cohort is compiled by as few workers as possible and nobody idles.

A worker goes on with its cohort, then with others that it holds in memory, then takes one that nobody holds; only when
none of those is left does it help with the longest queue of another worker.
"""

import collections
from collections.abc import Hashable, Iterable
from typing import Any

HELD, HELD_ON_DEVICE = 64, 4  # compiled cohorts that stay in a worker's memory; a device's also holds their data

Request = dict[str, Any]


def keep(held: "collections.OrderedDict[str, Any]", device: str) -> None:
  """Drops what was used least recently, where too much is held: in a worker programs, here the knowledge of them."""
  while len(held) > (HELD if device == "cpu" else HELD_ON_DEVICE):
    held.popitem(last=False)


class Turns:
  """The requests that wait, in one queue for each cohort; a check or a bench belongs to none, its queue is ""."""

  def __init__(self, device: str = "cpu"):
    self.device = device
    self.waiting: dict[str, collections.deque[Request]] = {}
    self.held: dict[Hashable, collections.OrderedDict[str, None]] = {}
    self.current: dict[Hashable, str] = {}

  def add(self, requests: Iterable[Request]) -> None:
    """Queues requests; cohorts are begun in their order of appearance."""
    for request in requests:
      self.waiting.setdefault(request.get("cohort", ""), collections.deque()).append(request)

  def take(self, worker: Hashable) -> Request | None:
    """The next request for this worker, which from then on holds its cohort; None when nothing waits."""
    if not self.waiting:
      return None
    cohort = self.current[worker] = self._choice(worker)
    request = self.waiting[cohort].popleft()
    if not self.waiting[cohort]:
      del self.waiting[cohort]
    if cohort:
      held = self.held.setdefault(worker, collections.OrderedDict())
      held[cohort] = None
      held.move_to_end(cohort)
      keep(held, self.device)
    return request

  def withdraw(self, cohort: str) -> list[Request]:
    """The waiting requests of a cohort, which wait no longer."""
    return list(self.waiting.pop(cohort, ()))

  def forget(self, worker: Hashable, cohorts: Iterable[str]) -> None:
    """These cohorts are no longer in the worker's memory."""
    for cohort in cohorts:
      self.held.get(worker, {}).pop(cohort, None)

  def drop(self, worker: Hashable) -> None:
    """Forgets a worker that is gone, and what it held."""
    self.held.pop(worker, None)
    self.current.pop(worker, None)

  def _choice(self, worker: Hashable) -> str:
    held = tuple(self.held.get(worker, ()))
    taken = {cohort for other in self.held if other is not worker for cohort in self.held[other]}
    latest = (self.current.get(worker, ""), *reversed(held))  # what is held for longest is dropped first
    own = [cohort for cohort in latest if cohort in self.waiting]
    free = [cohort for cohort in self.waiting if cohort not in taken]
    longest = max(self.waiting, key=lambda cohort: len(self.waiting[cohort]))
    return next(iter((*own, *free, longest)))
