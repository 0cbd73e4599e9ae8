"""Progress with an estimated end: a bar on a terminal, one line a minute elsewhere; always on stderr."""

import sys
import time
from typing import Any

QUIET = 60.0  # seconds between lines without a terminal


class Progress:
  """Counts work in training steps. On a terminal it draws with rich; else it prints a line a minute."""

  def __init__(self, title: str):
    self.title, self.total, self.finished = title, 0, 0.0
    self.running: dict[tuple[str, ...], int] = {}
    self.started = self.said = time.monotonic()
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

  def advance(self, amount: int) -> None:
    self.finished += amount
    self._show()

  def step(self, keys: tuple[str, ...], step: int) -> None:
    """A running pack has reached this step."""
    self.running[keys] = step * len(keys)
    self._show()

  def done(self, keys: tuple[str, ...], request: dict[str, Any]) -> None:
    """A pack has ended, however it ended."""
    self.running.pop(keys, None)
    self.advance(sum(config["train"]["steps"] for config in request.get("configs", ())))

  def note(self, text: str) -> None:
    if self.bar and self.task is not None:
      self.bar.update(self.task, description=f"{self.title} ({text})")

  def warn(self, text: str) -> None:
    """A line that must be seen whatever is drawn."""
    (self.bar.console.print if self.bar else lambda line: print(line, file=sys.stderr))(f"warning: {text}")

  def _show(self) -> None:
    done = self.finished + sum(self.running.values())
    if self.bar and self.task is not None:
      self.bar.update(self.task, total=self.total, completed=done)
    elif time.monotonic() - self.said > QUIET and done:
      self.said = time.monotonic()
      elapsed = self.said - self.started
      left = elapsed * (self.total - done) / done
      print(
        f"{self.title}: {100 * done / self.total:.0f} % after {elapsed:.0f} s, about {left:.0f} s left", file=sys.stderr
      )
