"""Cohorts: points that differ only in member keys share one compile, by one worker where possible; the keys of trials.

A point is a resolved config (plain JSON). Its trial key is the hash of the config and of the data it reads.
"""

import collections
import functools
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configs import slots
from experiments.record import atomic, corpora
from experiments.run.messages import Request
from train import compute

# Run-time numbers of a run whatever it is built of; all else is compiled into the cohort, but for the dials that the
# classes in the slots of the model hold (configs/constructor.py).
MEMBER_KEYS = (
  "seed",
  "optim.lr",
  "optim.weight_decay",
  "optim.label_smoothing",
  "optim.schedule.kind",
  "optim.schedule.warmup",
  "optim.schedule.rate",
  "model.init.kind",
  "model.init.qk",
  "model.init.gain",
  "model.init.qk_gain",
  "model.init.out_gain",
  "eval.split",
  "eval.judge",
  "probes",
)
NOT_IDENTITY = ("name", "workdir", "mesh", "logging")  # never part of a trial's key
# Options that were added later: at the value that means "as before" they are left out, so that what was stored before
# keeps its keys. "model.wiring.eps" is a key of every config; "model.attention:sigmoid.length" belongs to one kind.
LATER: dict[str, Any] = {
  "model.attention_dropout": 0.0,
  "model.wiring.eps": 1e-6,
  "model.attention:sigmoid.length": 0,
  "model.position:xl.shared": True,
  "model.position:shaw.shared": True,
}

HELD, HELD_ON_DEVICE = 64, 4  # compiled cohorts that stay in a worker's memory; a device's also holds their data


class Pack(NamedTuple):
  """Members of one cohort that train together: trial keys and their configs, in the same order."""

  cohort: str
  keys: tuple[str, ...]
  configs: tuple[Mapping[str, Any], ...]

  @property
  def key(self) -> str:
    """Names the pack's folder of checkpoints."""
    return hash_of({"cohort": self.cohort, "members": list(self.keys)})[:16]


def hash_of(value: Any) -> str:
  """sha256 of the value's canonical JSON, hexadecimal."""
  return atomic.sha256(atomic.canonical(value, ascii=True))


def trial_key(config: Mapping[str, Any], data_sha256: Mapping[str, str]) -> str:
  """16 hex digits that name a trial."""
  return hash_of({"config": identity(config), "data": dict(data_sha256)})[:16]


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
  """What of a config tells two trials apart: neither names and folders, nor how a user wrote the path of a file."""
  kept = {name: value for name, value in config.items() if name not in NOT_IDENTITY}
  for slot in ("model", *slots.SLOTS):
    kept = _with(kept, f"{slot}.kind", _absolute)
  kept = _with(kept, "task", _absolute_options)
  return without(kept, [path for path, value in LATER.items() if _stands_at(config, path, value)])


def cohort_key(config: Mapping[str, Any]) -> str:
  """16 hex digits shared by all points that one compiled program serves."""
  rest = without(identity(config), member_keys(config))
  if not _own_model(config):
    # The rates are dials of ours. Configs from before attention_dropout lack it.
    rates = {name: config["model"].get(name, 0.0) for name in ("dropout", "attention_dropout")}
    rest["model"] = rest["model"] | {name: rate > 0 for name, rate in rates.items() if rate or name == "dropout"}
  return hash_of(rest)[:16]


def member_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
  """The keys of this config that are run-time numbers, dials of the classes in its slots included.

  A model class of the user's gets all of `model` and may build upon any of it: there nothing of it is run-time.
  """
  if _own_model(config):
    return tuple(key for key in MEMBER_KEYS if not key.startswith("model."))
  kinds = ((slot, family, _at(config, f"{slot}.kind")) for slot, family in slots.SLOTS.items() if family != "tasks")
  held = (f"{slot}.{name}" for slot, family, kind in kinds if kind for name in sorted(slots.dials(family, kind)))
  return (*MEMBER_KEYS, *held)


def without(config: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
  """A copy without these keys, and without the sections that they leave empty."""
  rest = dict(config)
  for path in paths:
    section, _, below = path.partition(".")
    name = section.partition(":")[0]
    if not below:
      rest.pop(name, None)
    elif isinstance(rest.get(name), Mapping):
      rest[name] = without(rest[name], [below])
      if not rest[name]:
        del rest[name]
  return rest


def _own_model(config: Mapping[str, Any]) -> bool:
  return ":" in config["model"]["kind"]


def _stands_at(config: Mapping[str, Any], path: str, value: Any) -> bool:
  """Whether the config has this value there, and the kind that the path names."""
  node: Any = config
  for part in path.split("."):
    name, _, kind = part.partition(":")
    if not isinstance(node, Mapping) or name not in node:
      return False
    node = node[name]
    if kind and not (isinstance(node, Mapping) and node.get("kind") == kind):
      return False
  return atomic.canonical(node) == atomic.canonical(value)


def _at(config: Mapping[str, Any], path: str) -> Any:
  for name in path.split("."):
    config = config.get(name, {})
  return config or None


def _with(config: Mapping[str, Any], path: str, change) -> dict[str, Any]:
  """A copy in which the value at `path`, where there is one, is changed."""
  name, _, below = path.partition(".")
  if name not in config:
    return dict(config)
  return {**config, name: _with(config[name], below, change) if below else change(config[name])}


def _absolute(kind: Any) -> Any:
  """The kind "mine.py:Mine" by the absolute path of its file; any other as it is."""
  return _resolved(kind, Path.cwd()) if isinstance(kind, str) and ":" in kind else kind


def _absolute_options(task: Mapping[str, Any]) -> dict[str, Any]:
  """A task's options with the absolute paths of the files that they name."""
  return {name: str(path) if (path := corpora.named(value)) else value for name, value in task.items()}


@functools.lru_cache(maxsize=256)
def _resolved(kind: str, folder: Path) -> str:
  file, _, name = kind.rpartition(":")
  return f"{(folder / Path(file).expanduser()).resolve()}:{name}"


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


# ---------------------------------------------------------------------------------------------------------------------
# Which worker gets which request, and so holds which compiled cohort


def drop_oldest(held: "collections.OrderedDict[str, Any]", device: str) -> None:
  """Drops what was used least recently, where too much is held: in a worker programs, here the knowledge of them."""
  while len(held) > (HELD if device == "cpu" else HELD_ON_DEVICE):
    held.popitem(last=False)


class Turns:
  """The requests that wait, in one queue for each cohort; a check or a bench belongs to none, its queue is "".

  So that a cohort is compiled by as few workers as possible and nobody idles, a worker goes on with its cohort, then
  with others that it holds in memory, then takes one that nobody holds; only when none of those is left does it help
  with the longest queue of another worker.
  """

  def __init__(self, device: str = "cpu"):
    self.device = device
    self.waiting: dict[str, collections.deque[Request]] = {}
    self.held: dict[Hashable, collections.OrderedDict[str, None]] = {}
    self.current: dict[Hashable, str] = {}

  def add(self, requests: Iterable[Request]) -> None:
    """Queues requests; cohorts are begun in their order of appearance."""
    for request in requests:
      self.waiting.setdefault(request.cohort, collections.deque()).append(request)

  def take(self, worker: Hashable) -> Request | None:
    """The next request for this worker, which from then on holds its cohort; None when nothing waits."""
    if not self.waiting:
      return None
    cohort = self.current[worker] = self._choice(worker)
    request = self.waiting[cohort].popleft()
    if not self.waiting[cohort]:
      del self.waiting[cohort]
    if cohort:
      held = self.held.setdefault(worker, collections.OrderedDict())
      held[cohort] = None
      held.move_to_end(cohort)
      drop_oldest(held, self.device)
    return request

  def withdraw(self, cohort: str) -> list[Request]:
    """The waiting requests of a cohort, which wait no longer."""
    return list(self.waiting.pop(cohort, ()))

  def forget(self, worker: Hashable, cohorts: Iterable[str]) -> None:
    """These cohorts are no longer in the worker's memory."""
    for cohort in cohorts:
      self.held.get(worker, {}).pop(cohort, None)

  def drop(self, worker: Hashable) -> None:
    """Forgets a worker that is gone, and what it held."""
    self.held.pop(worker, None)
    self.current.pop(worker, None)

  def _choice(self, worker: Hashable) -> str:
    held = tuple(self.held.get(worker, ()))
    taken = {cohort for other in self.held if other is not worker for cohort in self.held[other]}
    latest = (self.current.get(worker, ""), *reversed(held))  # what is held for longest is dropped first
    own = [cohort for cohort in latest if cohort in self.waiting]
    free = [cohort for cohort in self.waiting if cohort not in taken]
    longest = max(self.waiting, key=lambda cohort: len(self.waiting[cohort]))
    return next(iter((*own, *free, longest)))


# ---------------------------------------------------------------------------------------------------------------------
# Which programs the cache of compiled programs on disk holds


def remember(cohort: str, code: str) -> None:
  """Notes that this cohort's programs, of this code, were compiled into the cache that is in use."""
  folder = _seen()
  if folder.parent.is_dir() and os.access(folder.parent, os.W_OK):
    folder.mkdir(exist_ok=True)
    (folder / _name(cohort, code)).touch()


def kept(cohort: str, code: str) -> bool:
  """Whether they were, and the cache is still there."""
  return (_seen() / _name(cohort, code)).is_file()


def _seen() -> Path:
  return compute.cache_folder() / "seen"


def _name(cohort: str, code: str) -> str:
  return hash_of([cohort, code])[:24]
