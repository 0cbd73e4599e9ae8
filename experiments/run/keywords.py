"""What a refusal says of flags, said of keyword arguments to who calls from Python.

    --seeds=1 tells nothing                         -> seeds=1 tells nothing
    write for instance --lrs=1e-3,1e-2              -> write for instance lrs=[1e-3, 1e-2]
    --config=recal is no card                       -> card 'recal' is no card
    --config.optim.lr=0.1 would be overwritten      -> optim.lr=0.1 would be overwritten

Commands between backticks (`assay runs`) stay as they are: they are for a shell.
"""

import re

from configs import values

COMMAND = re.compile(r"(`[^`]*`)")
OVERRIDE = re.compile(r"--config\.(?=\w)")
GIVEN = re.compile(r"(?<![\w./-])--([a-z_]+)=('[^']*'|\"[^\"]*\"|[^\s;)`]*)")
NAMED = re.compile(r"(?<![\w./-])--([a-z_]+)")
SWITCHES = ("keep", "keep_stale", "dry_run")
RENAMED = {"config": "card", "axis": "axes"}


def spoken(refusal: str) -> str:
  """The refusal in words of Python."""
  parts = COMMAND.split(refusal)
  return "".join(part if part.startswith("`") else _translated(part) for part in parts)


def _translated(text: str) -> str:
  text = GIVEN.sub(lambda match: _argument(*match.groups()), OVERRIDE.sub("", text))
  return NAMED.sub(lambda match: _name(match[1]), text)


def _name(flag: str) -> str:
  return f"{flag}=True" if flag in SWITCHES else RENAMED.get(flag, flag)


def _argument(flag: str, value: str) -> str:
  """One argument with its value, as Python spells it; punctuation that ends a phrase is no part of it."""
  bare = value if value[:1] in ("'", '"') else value.rstrip(".,:?!")
  rest, name = value[len(bare) :], RENAMED.get(flag, flag)
  if not bare:  # "choose another --workdir="
    return f"{name}={rest}" if rest else f"{name}="
  joint = " " if flag == "config" else "="
  return f"{name}{joint}{_literal(bare)}{rest}"


def _literal(value: str) -> str:
  """A value as Python writes it: numbers, lists of numbers and placeholders (N) as they are, words as texts."""
  if value[0] in "'\"[" or value.isupper():
    return value
  items = value.split(",")
  if all(_number(item) for item in items):
    return value if len(items) == 1 else f"[{', '.join(items)}]"
  return repr(value)


def _number(text: str) -> bool:
  try:
    values.parse(text, "float")
  except ValueError:
    return False
  return True
