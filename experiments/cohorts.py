"""Points that differ only in member keys share one compile; keys and digests of trials.

A point is a resolved config (plain JSON). Its trial key is the hash of the config and of the data it reads.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Member keys: runtime numbers of a run. All else is compiled into the cohort.
MEMBER_KEYS = (
  "seed",
  "optim.lr",
  "optim.weight_decay",
  "optim.label_smoothing",
  "optim.schedule",
  "model.init",
  "model.attention.scale",
  "model.attention.gain",
  "eval.split",
  "eval.judge",
  "probes",
)
NOT_IDENTITY = ("name", "workdir", "mesh", "logging")  # never part of a trial's key


class Pack(NamedTuple):
  """Members of one cohort that train together: trial keys and their configs, in the same order."""

  cohort: str
  keys: tuple[str, ...]
  configs: tuple[Mapping[str, Any], ...]

  @property
  def key(self) -> str:
    """Names the pack's folder of checkpoints."""
    return digest({"cohort": self.cohort, "members": list(self.keys)})[:16]


def canonical(value: Any) -> str:
  """The canonical JSON text that keys are hashed from."""
  return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
  """sha256 of the canonical JSON, hexadecimal."""
  return hashlib.sha256(canonical(value).encode()).hexdigest()


def trial_key(config: Mapping[str, Any], data_sha256: Mapping[str, str]) -> str:
  """16 hex digits that name a trial."""
  identity = {name: value for name, value in config.items() if name not in NOT_IDENTITY}
  return digest({"config": identity, "data": dict(data_sha256)})[:16]


def cohort_key(config: Mapping[str, Any]) -> str:
  """16 hex digits shared by all points that one compiled program serves."""
  rest = copy.deepcopy({name: value for name, value in config.items() if name not in NOT_IDENTITY})
  for path in MEMBER_KEYS:
    *parents, last = path.split(".")
    node = rest
    for parent in parents:
      node = node.get(parent, {})
    node.pop(last, None)
  rest["model"]["dropout"] = rest["model"]["dropout"] > 0  # the rate is a dial, its presence is structure
  if rest["model"]["attention"].get("learned"):
    rest["model"]["attention"]["learned_scale"] = config["model"]["attention"].get("scale")
  return digest(rest)[:16]


def packs(points: Mapping[str, Mapping[str, Any]], width: int) -> list[Pack]:
  """Groups trials (key -> config) into packs of at most `width` members, cohorts in order of appearance."""
  cohorts: dict[str, list[str]] = {}
  for key, config in points.items():
    cohorts.setdefault(cohort_key(config), []).append(key)
  return [
    Pack(cohort, tuple(chunk), tuple(points[key] for key in chunk))
    for cohort, keys in cohorts.items()
    for chunk in _chunks(keys, width)
  ]


def _chunks(items: Sequence[str], width: int) -> list[Sequence[str]]:
  return [items[i : i + width] for i in range(0, len(items), width)]
