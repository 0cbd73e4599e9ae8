"""What a task says of the data it reads, asked in a process of its own: the task must be built, and so imports jax.

The process answers one line of JSON for each line it gets, and ends with its parent or after the last question.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from experiments.record import digest
from model.errors import Refused


def ask(task: Mapping[str, Any]) -> dict[str, str]:
  """The `data_sha256` of the built task. Raises Refused when it cannot be built, or says something else."""
  answer = _answer(json.dumps(task, sort_keys=True))
  if "refused" in answer:
    raise Refused(answer["refused"])
  return dict(answer["said"])


@functools.lru_cache(maxsize=1024)  # one command never sees its own data change
def _answer(task: str) -> Mapping[str, Any]:
  process = _process()
  assert process.stdin is not None
  assert process.stdout is not None
  try:
    process.stdin.write(task + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
  except (BrokenPipeError, json.JSONDecodeError):
    forget()
    raise Refused(
      f"task.kind={json.loads(task)['kind']}: building it ended the process that asked for its data_sha256; "
      "a task must not exit"
    ) from None
  return answer


@functools.cache
def _process() -> subprocess.Popen:
  pipe, path = subprocess.PIPE, os.pathsep.join(filter(None, [str(digest.root()), os.environ.get("PYTHONPATH")]))
  command, env = [sys.executable, "-m", "experiments.record.declared"], {**os.environ, "PYTHONPATH": path}
  process = subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, env=env)
  atexit.register(process.kill)
  return process


def forget() -> None:
  """Ends the process, where there is one: a later question meets the files as they then are."""
  if _process.cache_info().currsize:
    _process().kill()
    _process().wait()
  _process.cache_clear()
  _answer.cache_clear()


def said(task: Mapping[str, Any]) -> dict[str, str]:
  """The built task's `data_sha256`, checked."""
  from model import build

  built = build.make("tasks", dict(task), package="train")
  found = built.data_sha256()
  if not isinstance(found, Mapping) or not all(isinstance(text, str) for pair in found.items() for text in pair):
    raise Refused(
      f"task.kind={task['kind']}: data_sha256() returned {found!r}; return {{name: sha256}}, two texts each"
    )
  return dict(found)


def reply(task: Mapping[str, Any]) -> dict[str, Any]:
  """{"said": what the task says} or {"refused": why it says nothing}."""
  from experiments.worker import serve as work

  try:
    return {"said": said(task)}
  except Refused as refusal:
    return {"refused": str(refusal)}
  except Exception as error:
    return {"refused": f"task.kind={task['kind']} cannot be built: {work.cause(error)}; correct the task"}


def main() -> int:
  """Answers questions until there are no more."""
  answers = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever a task prints goes to stderr
  for line in sys.stdin:
    answers.write(json.dumps(reply(json.loads(line))) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
