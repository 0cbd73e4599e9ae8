"""Signals that end a command (Ctrl-C, a polite kill, a closed terminal), at any moment, with the codes shells expect.

`caught` raises Interrupted where the command stands; a Runner takes over while its workers have something to save.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")

Handler = Callable[[int, object], None]


class Interrupted(BaseException):
  """A signal ended the command; no `except Exception` on the way may take it for a fault."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.code = 128 + number


def stop(number: int, _frame: object) -> None:
  """The handler of a command that has nothing to save."""
  raise Interrupted(number)


@contextlib.contextmanager
def caught(handler: Handler = stop) -> Iterator[None]:
  """Signals go to `handler` inside the block, and after it to whom they went before.

  A hangup that was ignored (nohup) stays so. Outside the main thread nothing can be caught, and nothing changes.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.getsignal(number) for number in _numbers()}
  try:
    for number in before:
      signal.signal(number, handler)
    yield
  finally:
    for number, previous in before.items():
      signal.signal(number, previous if previous is not None else signal.SIG_DFL)


def _numbers() -> list[int]:
  known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
  return [n for n in known if n == signal.SIGINT or n == signal.SIGTERM or signal.getsignal(n) != signal.SIG_IGN]
