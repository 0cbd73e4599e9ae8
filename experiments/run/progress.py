"""Progress with an estimated end: a bar on a terminal, one line a minute elsewhere; always on stderr."""

import collections
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

QUIET = 60.0  # seconds between lines without a terminal
RECENT = 120.0  # seconds over which the pace is taken, at least: a compile or a long decoding is soon forgotten


class Progress:
  """Counts work in training steps. On a terminal it draws with rich; else it prints a line a minute.

  What is known to come but not yet planned (a study's reporting runs while it is being tuned) stands in `later`.
  """

  def __init__(self, title: str):
    self.title, self.total, self.later, self.finished = title, 0, 0, 0.0
    self.running: dict[tuple[str, ...], int] = {}
    self.started = self.said = time.monotonic()
    self.marks: collections.deque[tuple[float, float]] = collections.deque()
    self.bar, self.task = None, None

  def __enter__(self) -> "Progress":
    if sys.stderr.isatty():
      from rich.console import Console
      from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
      from rich.progress import Progress as Bar

      columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
      console = Console(stderr=True)
      self.bar = Bar(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console)
      self.task = self.bar.add_task(self.title, total=None)
      self.bar.start()
    return self

  def __exit__(self, *exc) -> None:
    if self.bar:
      self.bar.stop()

  def plan(self, amount: int) -> None:
    """Adds work to be done."""
    self.total += amount
    self._show()

  def expect(self, amount: int) -> None:
    """Work that will be planned later, instead of what was expected before."""
    self.later = amount

  def advance(self, amount: int) -> None:
    self.finished += amount
    self._show()

  def step(self, keys: tuple[str, ...], step: int) -> None:
    """A running pack has reached this step."""
    self.running[keys] = step * len(keys)
    self._show()

  def done(self, keys: tuple[str, ...], configs: Iterable[Mapping[str, Any]]) -> None:
    """A pack of these trials has ended, however it ended."""
    self.running.pop(keys, None)
    self.advance(sum(config["train"]["steps"] for config in configs))

  def note(self, text: str) -> None:
    if self.bar and self.task is not None:
      self.bar.update(self.task, description=f"{self.title} ({text})")

  def say(self, text: Any) -> None:
    """A line of the command's answer on a terminal, above the bar; text or what rich can print."""
    if self.bar:
      self.bar.console.print(text, soft_wrap=True, highlight=False)
    else:
      from rich.console import Console

      Console(file=sys.stdout).print(text, soft_wrap=True, highlight=False)

  def warn(self, text: str) -> None:
    """A line that must be seen whatever is drawn."""
    (self.bar.console.print if self.bar else lambda line: print(line, file=sys.stderr))(f"warning: {text}")

  def _show(self) -> None:
    now, done, total = time.monotonic(), self.finished + sum(self.running.values()), self.total + self.later
    self.marks.append((now, done))
    while len(self.marks) > 1 and now - self.marks[1][0] > RECENT:
      self.marks.popleft()
    if self.bar and self.task is not None:
      self.bar.update(self.task, total=total, completed=done)
    elif now - self.said > QUIET and done:
      self.said = now
      share = f"{100 * done / total:.0f} % after {now - self.started:.0f} s"
      print(f"{self.title}: {share}{self._left(now, done, total)}", file=sys.stderr)

  def _left(self, now: float, done: float, total: float) -> str:
    """The time left at the recent pace, in words; nothing while there is no pace."""
    began, before = self.marks[0]
    pace = (done - before) / (now - began) if now > began else 0.0
    return f", about {(total - done) / pace:.0f} s left" if pace > 0 else ""
