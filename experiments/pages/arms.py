"""The arms of a study as the pages show them: the settings in which they differ, and where each stands in a picture."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.protocol.claim import At, Study

PROTOCOLS = ("seed", "eval.split", "eval.judge", "probes")  # set by the protocol for every trial: no arm is about them
MOST = 2  # settings beside the axis that a group is named by; arms that differ in more stand by their names

Settings = dict[str, Any]


def differing(configs: Mapping[str, Mapping[str, Any]], *, tuned: bool = False) -> dict[str, Settings]:
  """By arm, the value of every key in which some arms differ; a key that an arm lacks is not among its own.

  tuned: the learning rate was chosen for each arm, which the page tells elsewhere.
  """
  flat = {name: dict(_flat(config)) for name, config in configs.items()}
  left_out = (*PROTOCOLS, "optim.lr") if tuned else PROTOCOLS
  keys = [key for key in dict.fromkeys(key for one in flat.values() for key in one) if key not in left_out]
  missing = object()
  apart = [key for key in keys if len({repr(one.get(key, missing)) for one in flat.values()}) > 1]
  return {name: {key: one[key] for key in apart if key in one} for name, one in flat.items()}


def placed(plan: Study, settings: Mapping[str, Settings]) -> dict[str, At]:
  """Where every arm stands: as the study says, else at its value of the key that bears the name of the study's axis.

  Where that tells no arms apart, none has an x.
  """
  found = {name: plan.at.get(name, At()) for name in settings} if plan.at else _by_key(plan.x, settings)
  places = list(found.values())
  telling = len({place.x for place in places}) > 1 and len(set(places)) == len(places)
  return found if telling and all(place.x is not None for place in places) else {name: At(None, name) for name in found}


def _by_key(axis: str, settings: Mapping[str, Settings]) -> dict[str, At]:
  keys = list(dict.fromkeys(key for one in settings.values() for key in one))
  named = [key for key in keys if axis and (key == axis or key.endswith(f".{axis}"))]
  others = [key for key in keys if key not in named]
  if len(named) != 1 or len(others) > MOST or not all(_number(one.get(named[0])) for one in settings.values()):
    return {name: At() for name in settings}
  return {name: At(float(one[named[0]]), _group(one, others)) for name, one in settings.items()}


def _group(settings: Settings, keys: list[str]) -> str:
  """`kind=dot, depth=2`: what arms on one line have in common."""
  return ", ".join(f"{_short(key)}={settings[key]}" for key in keys if key in settings)


def _short(key: str) -> str:
  *_, parent, last = ("", *key.split("."))
  return parent if last == "kind" else last


def _number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}", value
