"""Python files of the user's, run so that nothing in them can end, hold up, answer for or alter the command.

What goes wrong in such a file is told in one line with the file and the line: an exception, `sys.exit`, a file that
does not come to its end, a change of our own names. What it prints goes to stderr, for stdout belongs to the command.
"""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from configs import Refused

SECONDS = 10.0  # what a file may take
LIBRARY_SECONDS = 120.0  # ... while it imports a library, on a slow disk
PATIENCE = 5  # so many times an endless loop may swallow the alarm before the process ends itself
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # signals that end a command, whatever exception they do it by
OURS = ("model", "train", "configs", "experiments")
RESTLESS = ("__annotations__", "__warningregistry__")  # names that Python itself changes

Result = TypeVar("Result")


def run(path: Path, name: str, asked: str) -> types.ModuleType:
  """The module of a user's file, known to Python as `name`; `asked` is how a refusal begins ("--config=mine.py")."""
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None
  loader = spec.loader
  assert loader is not None
  module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up by name
  try:
    call(lambda: loader.exec_module(module), path, asked)
  except BaseException:
    del sys.modules[name]
    raise
  return module


def call(function: Callable[[], Result], path: Path | None, asked: str) -> Result:
  """What a user's function gives. Raises Refused for whatever stops it, but a signal such as Ctrl-C."""
  before, began, pressed = _names(), time.monotonic(), []
  try:
    with to_stderr(), _kept(), _beside(path), _listening(pressed):
      found = _within(function, asked)
  except BaseException as error:
    _restored(before)
    if pressed:
      raise
    raise Refused(f"{asked}{_line(error, path)}: {_told(error, began)}; correct the file") from None
  changed = _restored(before)
  if changed:
    raise Refused(f"{asked}: it changes {', '.join(changed[:3])}; a file may use what is ours, but not alter it")
  return found


def importing(frame: types.FrameType | None) -> bool:
  """Whether this frame works for the import of an installed library; a user's file may be left at any line.

  An exception amid the first lines of a compiled module becomes an ImportError there or ends the process (jaxlib).
  """
  library = False
  while frame is not None:
    name = frame.f_code.co_filename
    if library and name.startswith("<frozen importlib"):
      return True
    library = library or "site-packages" in name
    frame = frame.f_back
  return False


@contextlib.contextmanager
def to_stderr() -> Iterator[None]:
  """Whatever is printed meanwhile, by Python, a library or a child process, goes to stderr."""
  with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as undo:
    if sys.__stdout__ is not None:  # none under a window system without a terminal
      with contextlib.suppress(OSError, ValueError):
        sys.__stdout__.flush()
        kept = os.dup(1)
        undo.callback(os.close, kept)
        os.dup2(2, 1)
        undo.callback(os.dup2, kept, 1)
        undo.callback(sys.__stdout__.flush)
    yield


class _TooLong(BaseException):
  """The time is over; no `except Exception` of the user's holds it up."""


def _within(function: Callable[[], Result], asked: str) -> Result:
  """The function's result within SECONDS, by an alarm in the main thread and by waiting for a thread elsewhere."""
  if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
    return _in_a_thread(function)
  rung, began = 0, time.monotonic()

  def ring(_number, frame):
    nonlocal rung
    if importing(frame) and time.monotonic() - began < LIBRARY_SECONDS:
      return
    rung += 1
    if rung > PATIENCE:  # a loop that catches everything
      os.write(2, f"assay: {asked}: took longer than {SECONDS:g} s; correct the file\n".encode())
      leave(2)
    raise _TooLong

  leave, process = os._exit, os.getpid()

  def refuse(code):
    if os.getpid() != process:  # a child that the file forked may end itself
      leave(code)
    raise SystemExit(code)

  previous = signal.signal(signal.SIGALRM, ring)
  os._exit = refuse  # it would end the command without a word
  signal.setitimer(signal.ITIMER_REAL, SECONDS, 1.0)
  try:
    return function()
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, previous)
    os._exit = leave


def _in_a_thread(function: Callable[[], Result]) -> Result:
  found: list[Result] = []
  failed: list[BaseException] = []

  def work():
    try:
      found.append(function())
    except BaseException as error:
      failed.append(error)

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  thread.join(SECONDS)
  if failed:
    raise failed[0]
  if thread.is_alive():
    raise _TooLong
  return found[0]


@contextlib.contextmanager
def _kept() -> Iterator[None]:
  """The folder and the filters of warnings are afterwards what they were."""
  folder = Path.cwd()
  with warnings.catch_warnings():
    try:
      yield
    finally:
      os.chdir(folder)


@contextlib.contextmanager
def _beside(path: Path | None) -> Iterator[None]:
  """The file may import the modules beside it; another file, with helpers of the same names, gets its own."""
  if path is None:
    yield
    return
  folder, before = str(path.parent), set(sys.modules)
  sys.path.append(folder)
  try:
    yield
  finally:
    last = max((index for index, entry in enumerate(sys.path) if entry == folder), default=None)
    if last is not None:  # a file may have removed it
      del sys.path[last]
    for name in set(sys.modules) - before:
      file = getattr(sys.modules[name], "__file__", None)
      if file and Path(file).parent == path.parent and file != str(path):
        del sys.modules[name]


@contextlib.contextmanager
def _listening(pressed: list[int]) -> Iterator[None]:
  """Tells a signal from an exception that the file raises itself: `pressed` gets the signals that arrive."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
  before = {number: signal.getsignal(number) for number in numbers}

  def heard(number, frame):
    pressed.append(number)
    before[number](number, frame)  # type: ignore[operator]

  for number, previous in before.items():
    if callable(previous):
      signal.signal(number, heard)
  try:
    yield
  finally:
    for number, previous in before.items():
      if previous is not None:  # else set by something other than Python
        signal.signal(number, previous)


def _told(error: BaseException, began: float) -> str:
  if isinstance(error, _TooLong):
    return f"took longer than {time.monotonic() - began:.0f} s, at most {SECONDS:g} s are allowed"
  if isinstance(error, SystemExit):
    return "it ends the program (sys.exit)" + (f" with {error.code!r}" if error.code is not None else "")
  text = " ".join(str(error).split())[:300]
  if type(error).__name__ == "Refused":  # of ours, called by the file
    return text
  return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(error: BaseException, path: Path | None) -> str:
  """Such as ":12", the last line of the user's file that ran; nothing where the fault lies outside of it."""
  if path is None:
    return ""
  if isinstance(error, SyntaxError) and error.filename == str(path):
    return f":{error.lineno}"
  lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
  return f":{lines[-1]}" if lines else ""


Names = list[tuple[str, Any, dict[str, object]]]  # (what it is called, the module or class, its names)


def _names() -> Names:
  """What our modules and their classes hold."""
  found: Names = []
  for name, module in list(sys.modules.items()):
    if name.partition(".")[0] in OURS and module is not None:
      found.append((name, module, dict(vars(module))))
      classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == name]
      found += [(f"{name}.{c.__qualname__}", c, dict(vars(c))) for c in classes]
  return found


def _restored(before: Names) -> list[str]:
  """The names of ours that are no longer what they were; they get their values back."""
  changed = []
  for owner, holder, names in before:
    now = vars(holder)
    for name, value in names.items():
      if now.get(name) is not value and name not in RESTLESS:
        changed.append(f"{owner}.{name}")
        setattr(holder, name, value)
  return changed
