"""Studies judged as soon as their own trials are there, while those of others still run.

The protocol itself is `study.run`, unchanged: it is asked again with what has ended so far, and what it lacks is waited
for. What it says early is what it will say at the end, when all studies' trials are there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.protocol import study
from experiments.protocol.claim import Study
from experiments.run.runner import Runner

Result = dict[str, Any]
Told = Callable[[study.Finished], None]


class Missing(Exception):
  """Trials that a study asks for and that have not ended."""

  def __init__(self, keys: set[str]):
    super().__init__(f"{len(keys)} trials")
    self.keys = keys


class Watching:
  """Runs trials as the runner does, and tells of each of `studies` (with its tier) once it is finished."""

  def __init__(self, runner: Runner, studies: Sequence[tuple[Study, str]], told: Told):
    self.runner, self.told = runner, told
    self.results: dict[str, Result] = {}
    self.waiting: dict[int, set[str]] = {index: set() for index in range(len(studies))}  # keys, by place in `studies`
    self.studies = list(studies)

  def expect(self, steps: int) -> None:
    """Tells the runner."""
    self.runner.expect(steps)

  def trials(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, Result]:
    """Results by key."""
    return self.runner.trials(points, ended=self._ended)

  def _ended(self, results: Mapping[str, Result]) -> None:
    self.results |= results
    for index, keys in list(self.waiting.items()):
      keys.difference_update(results)
      if not keys:
        self._try(index)

  def _try(self, index: int) -> None:
    try:
      (finished,) = study.run([self.studies[index]], Answers(self.results))
    except Missing as missing:
      self.waiting[index] = missing.keys
    else:
      del self.waiting[index]
      self.told(finished)


class Answers:
  """Answers with the results that are there, and raises Missing for the others."""

  def __init__(self, results: Mapping[str, Result]):
    self.results = results

  def expect(self, steps: int) -> None:
    """Nothing runs."""

  def trials(self, points: Mapping[str, Mapping[str, Any]]) -> dict[str, Result]:
    """Results by key."""
    if missing := points.keys() - self.results.keys():
      raise Missing(set(missing))
    return {key: self.results[key] for key in points}
