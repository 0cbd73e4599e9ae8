"""What the two sides of the seam tell each other: requests of the driver, which knows no jax, and events of a worker.

A message is one line of JSON that bears its class's name and all its fields:

    {"message": "Step", "keys": ["0123456789abcdef"], "step": 40}

Numbers keep all their digits, and NaN and the infinities are spelled as Python's json spells them.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar, get_args, get_origin

Config = dict[str, Any]
Samples = dict[str, list[float]]

# ---------------------------------------------------------------------------------------------------------------------
# Requests


@dataclass(frozen=True)
class Train:
  """Train these members of one cohort: trial keys, configs and digests of their code, in the same order."""

  cohort: str
  keys: tuple[str, ...]
  configs: tuple[Config, ...]
  code: tuple[str, ...]
  tries: int = 0  # workers that were lost with it


@dataclass(frozen=True)
class Call:
  """Call the check or the bench `<prefix>.<name>`, which may have arguments behind its name."""

  cohort: ClassVar[str] = ""  # it belongs to none
  prefix: str
  name: str
  tries: int = 0


# ---------------------------------------------------------------------------------------------------------------------
# Events


@dataclass(frozen=True)
class Hello:
  """The worker is ready; on which backend, and what the device is called."""

  device: str
  device_name: str


@dataclass(frozen=True)
class Compiling:
  """The programs of a cohort are made."""

  cohort: str


@dataclass(frozen=True)
class Step:
  """A pack has reached this training step."""

  keys: tuple[str, ...]
  step: int


@dataclass(frozen=True)
class Warned:
  """What the user must see; nothing has failed."""

  text: str


@dataclass(frozen=True)
class Done:
  """A pack has ended and all its results are stored."""

  keys: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
  """A pack has ended with a member that failed; every member's result is stored."""

  keys: tuple[str, ...]
  cause: str


@dataclass(frozen=True)
class Called:
  """What a check or a bench has found."""

  name: str
  samples: Samples


@dataclass(frozen=True)
class CallFailed:
  """A check or a bench has failed."""

  name: str
  cause: str


@dataclass(frozen=True)
class Declined:
  """The user's mistake, found by the worker: what Refused said in it."""

  text: str


@dataclass(frozen=True)
class Dropped:
  """Cohorts whose programs the worker no longer holds in memory."""

  cohorts: tuple[str, ...]


Request = Train | Call
Event = Hello | Compiling | Step | Warned | Done | Failed | Called | CallFailed | Declined | Dropped
CLASSES: dict[str, type[Request | Event]] = {known.__name__: known for known in (*get_args(Request), *get_args(Event))}
TAG = "message"

# ---------------------------------------------------------------------------------------------------------------------
# Lines


class Unreadable(RuntimeError):
  """A line of JSON that is no message: the two sides are not of one version, or something else wrote it."""


def line(message: Request | Event) -> str:
  """The message as a line, with its end."""
  fields = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
  return json.dumps({TAG: type(message).__name__, **fields}) + "\n"


def read(text: str) -> Request | Event:
  """The message of a line. Raises JSONDecodeError for a line torn off, Unreadable for what is no message."""
  said = json.loads(text)
  if not isinstance(said, dict):
    raise Unreadable(f"a message is {_shown(said)}; allowed: an object of JSON")
  name = said.pop(TAG, None)
  if not isinstance(name, str) or name not in CLASSES:
    raise Unreadable(f"unknown message {_shown(name)}; allowed: {', '.join(CLASSES)}")
  fields = {field.name: field.type for field in dataclasses.fields(CLASSES[name])}
  for wrong, what in ((fields.keys() - said.keys(), "lacks"), (said.keys() - fields.keys(), "has the unknown field")):
    if wrong:
      raise Unreadable(f"the message {name} {what} {', '.join(sorted(wrong))}; its fields: {', '.join(fields)}")
  return CLASSES[name](**{field: _typed(said[field], kind, f"{name}.{field}") for field, kind in fields.items()})


def _typed(value: Any, kind: Any, place: str) -> Any:
  """The value as a field of this type holds it; JSON has lists alone, so tuples are made again."""
  holder, inner = get_origin(kind) or kind, get_args(kind)
  if kind is Any:
    return value
  if type(value) is not (list if holder is tuple else holder):  # a bool is no int here
    raise Unreadable(f"the message's {place} is {_shown(value)}; allowed: {getattr(holder, '__name__', holder)}")
  if holder is dict:
    return {name: _typed(item, inner[1], f"{place}[{_shown(name)}]") for name, item in value.items()}
  if holder in (list, tuple):
    return holder(_typed(item, inner[0], f"{place}[{index}]") for index, item in enumerate(value))
  return value


def _shown(value: Any) -> str:
  return json.dumps(value)[:80]
