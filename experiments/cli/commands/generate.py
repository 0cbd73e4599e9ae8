"""`assay generate WORKDIR [PROMPT]`: what a trained model goes on with, after a text or after symbols."""

import sys
from typing import Any

from experiments import api
from model.errors import Refused

PROMPT = "give a prompt behind the workdir, or by a pipe: echo 'the cat' | assay generate WORKDIR"


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Text where the task knows how its symbols are spelled, else numbers such as "3 1 2"; without a prompt, stdin's."""
  model = api.load(space.workdir, keep_stale=space.keep_stale)
  prompt = space.prompt if space.prompt is not None else _piped()
  given = prompt if hasattr(model.task, "encode") else [_numbers(prompt)]
  options = {"temperature": space.temperature, "seed": space.seed}
  found = model.generate(given, space.length, **options)
  told = found if isinstance(found, str) else " ".join(str(int(symbol)) for symbol in found[0])
  if not space.json:
    print(told)
  document = {"schema": 1, "workdir": str(model.workdir), "trial": model.trial, "prompt": prompt, "generated": told}
  return document | {"length": space.length} | options, 0


def _piped() -> str:
  """What stands on stdin, less the line end that a shell adds."""
  if sys.stdin is None or sys.stdin.isatty():
    raise Refused(f"there is no prompt; {PROMPT}")
  return sys.stdin.read().removesuffix("\n")


def _numbers(prompt: str) -> list[int]:
  try:
    return [int(word) for word in prompt.replace(",", " ").split()]
  except ValueError:
    raise Refused(f"prompt {prompt!r:.60} is no list of symbols; this task has no text: give such as '3 1 2'") from None
