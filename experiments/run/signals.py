"""Signals that end a command (Ctrl-C, a polite kill, a closed terminal), at any moment, with the codes shells expect.

`caught` raises Interrupted where the command stands; a Runner takes over while its workers have something to save. A
call from Python ends as Python's own calls do (`verb`).
"""

import contextlib
import contextvars
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import ParamSpec, TypeVar

from configs import Refused as ConfigRefused
from configs.userfile import importing
from model.errors import Refused

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")

AGAIN = 0.05  # seconds after which a signal that came at a bad moment is sent again
PATIENCE = 20.0  # seconds for which that is done; then it ends the command all the same
SWALLOWED = 5.0  # seconds after which somebody must have swallowed the exception: no command takes so long to leave

Handler = Callable[[int, FrameType | None], None]
Given = ParamSpec("Given")
Found = TypeVar("Found")

_by_flags = contextvars.ContextVar("by_flags", default=False)


class Interrupted(BaseException):
  """A signal ended the command; no `except Exception` on the way may take it for a fault."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    self.code = 128 + number


def verb(function: Callable[Given, Found]) -> Callable[Given, Found]:
  """What Python calls: a mistake comes out of it as model.errors.Refused in one line, Ctrl-C as KeyboardInterrupt."""

  @functools.wraps(function)
  def told(*args: Given.args, **options: Given.kwargs) -> Found:
    try:
      return function(*args, **options)
    except (Refused, ConfigRefused) as error:
      raise Refused(_spoken(" ".join(str(error).split()))) from None
    except Interrupted as stopped:
      if str(stopped) == "SIGINT":
        raise KeyboardInterrupt("SIGINT") from None
      raise

  return told


@contextlib.contextmanager
def by_flags() -> Iterator[None]:
  """Who calls from here gave flags of the command line, and refusals speak of these; else of keyword arguments."""
  before = _by_flags.set(True)
  try:
    yield
  finally:
    _by_flags.reset(before)


def _spoken(refusal: str) -> str:
  if _by_flags.get() or "--" not in refusal:
    return refusal
  from experiments.run import keywords

  return keywords.spoken(refusal)


class Stop:
  """The handler of a command that has nothing to save: raises Interrupted, but never amid a library's import.

  An exception in the midst of a compiled module's first lines becomes an ImportError there, or ends the process
  (jaxlib); so the signal is sent again until the import is done.
  """

  def __init__(self):
    self.first = 0.0

  def __call__(self, number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    self.first = self.first or now
    if not importing(frame) or now - self.first > PATIENCE:
      _again(number, SWALLOWED, self)
      raise Interrupted(number)
    _again(number)


def _again(number: int, after: float = AGAIN, handler: Handler | None = None) -> None:
  """Sends a signal again; with a handler only if that is in force still, for then the command did not end."""

  def send() -> None:
    if handler is None or signal.getsignal(number) is handler:
      os.kill(os.getpid(), number)

  timer = threading.Timer(after, send)
  timer.daemon = True
  timer.start()


@contextlib.contextmanager
def caught(handler: Handler | None = None) -> Iterator[None]:
  """Signals go to `handler` (default: a Stop) inside the block, and after it to whom they went before.

  A hangup that was ignored (nohup) stays so. Outside the main thread nothing can be caught, and nothing changes.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  handler = Stop() if handler is None else handler
  before = {number: signal.getsignal(number) for number in _numbers()}
  try:
    for number in before:
      signal.signal(number, handler)
    with _none_lost():
      yield
  finally:
    for number, previous in before.items():
      signal.signal(number, previous if previous is not None else signal.SIG_DFL)


@contextlib.contextmanager
def _none_lost() -> Iterator[None]:
  """Python drops what is raised while it collects garbage or calls a finalizer; a signal is sent again then."""
  before = sys.unraisablehook

  def told(dropped) -> None:
    if isinstance(dropped.exc_value, Interrupted):
      _again(dropped.exc_value.code - 128)
    else:
      before(dropped)

  sys.unraisablehook = told
  try:
    yield
  finally:
    sys.unraisablehook = before


def _numbers() -> list[int]:
  known = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
  return [n for n in known if n == signal.SIGINT or n == signal.SIGTERM or signal.getsignal(n) != signal.SIG_IGN]
