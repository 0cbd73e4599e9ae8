"""The command line's flags in the ecosystem's syntax: --config=CARD, --config.a.b=value, the rest by argparse."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from configs import slots, values
from model.errors import Refused

MOST_SEEDS = 10_000


class Parser(argparse.ArgumentParser):
  """argparse whose complaints are one line and exit code 2, with a suggestion for a mistyped word."""

  def error(self, message: str):
    raise Refused(f"{message}; see `{self.prog} --help`")

  def _check_value(self, action, value):
    if action.choices is not None and value not in action.choices:
      hint = slots.suggestion(str(value), action.choices)
      raise Refused(f"unknown {action.metavar or action.dest} {value!r}: {hint}allowed: {', '.join(action.choices)}")


def parse(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Namespace and the overrides "a.b=value" of all --config.a.b=value flags.

  Raises Refused for a flag that nobody knows, with a suggestion.
  """
  for text in argv:
    if "\0" in text:
      raise Refused(f"argument {text!r:.200} holds the character NUL, which no name and no number has; leave it out")
  overrides = [text.removeprefix("--config.") for text in argv if text.startswith("--config.")]
  rest = [text for text in argv if not text.startswith("--config.")]
  for text in overrides:
    if "=" not in text:
      raise Refused(f"--config.{text} has no value; write --config.{text}=VALUE")
  space, unknown = parser.parse_known_args(rest)
  if hasattr(space, "names") and not any(text.startswith("-") for text in unknown):
    space.names, unknown = [*space.names, *unknown], []  # argparse gives up words that stand behind a flag
  if unknown:
    command = subparser(parser, getattr(space, "command", None))
    known = sorted({option for action in command._actions for option in action.option_strings})
    hint = slots.suggestion(unknown[0].partition("=")[0], known)
    raise Refused(f"unknown argument {unknown[0]!r}: {hint}allowed: {', '.join(known)} and --config.KEY=VALUE")
  if getattr(space, "keep_stale", False) and getattr(space, "rerun", None):
    raise Refused("--keep_stale keeps what --rerun=stale runs again; give one of them")
  return space, overrides


def typed(space: argparse.Namespace) -> str:
  """The command line as it was typed, quoted for a shell."""
  return shlex.join(["assay", *space.argv])


def subparser(parser: Parser, name: str | None) -> argparse.ArgumentParser:
  """The parser of one command."""
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction) and name in action.choices:
      return action.choices[name]
  return parser


def integer(text: str) -> int:
  """Argparse type: a whole number."""
  try:
    return values.parse(text, "int")
  except ValueError as error:
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number; {error}") from None


def positive(text: str) -> int:
  """Argparse type: a whole number of at least 1."""
  try:
    value = values.parse(text, "int")
  except ValueError:
    value = 0
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer of at most {values.INT_LIMIT}")
  return value


def seeds(text: str) -> int:
  """Argparse type: a number of seeds."""
  value = positive(text)
  if value > MOST_SEEDS:
    raise argparse.ArgumentTypeError(f"{text!r} are more seeds than anybody runs; allowed: 1 to {MOST_SEEDS}")
  return value


def real(text: str) -> float:
  """Argparse type: a finite number of at least 0, which float32 holds."""
  try:
    value = values.parse(text, "float")
  except ValueError:
    value = -1.0
  if value < 0:
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of float32 of at least 0")
  return value


def workdir(given: str | None, command: str, name: str) -> Path:
  """The workdir asked for, or ./assay-results/<command>-<name>."""
  from experiments.run import store

  return store.place(given, command, name)


def shadowed() -> None:
  """Refuses to start when another package answers to one of our generic names."""
  import importlib.util

  ours = Path(__file__).resolve().parents[2]
  for name in ("model", "train", "configs", "experiments"):
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).resolve() if found and found.origin else None
    if origin != ours / name / "__init__.py":
      raise Refused(
        f"the package {name!r} comes from {origin or 'nowhere'}, not from {ours}; run from another folder or remove it"
      )
