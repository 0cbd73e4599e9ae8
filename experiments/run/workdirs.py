"""Workdirs from outside: where a command's results go, which there are, what their trials are and came to."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.record import stamp
from experiments.record.atomic import Damaged
from experiments.record.corpora import hashes
from experiments.run import store as stores
from experiments.run import where as conditions
from experiments.run.cohorts import trial_key
from experiments.run.store import DEFAULT, Store
from model.errors import Refused

FIELDS = ("workdir", "command", "trial", "status", "cause", "steps", "seconds", "stale", "changed")


def found(given: Sequence[str | Path] = ()) -> list[Path]:
  """The workdirs named, those in a folder named, or all under ./assay-results. Raises Refused for what is none."""
  if not given:
    return _inside(DEFAULT)
  chosen: list[Path] = []
  for folder in map(Path, given):
    here = [folder] if _is_workdir(folder) else _inside(folder)
    if not here:
      raise Refused(f"{folder} is no workdir and holds none; give the folder of a train, sweep, compare or reproduce")
    chosen += here
  return list(dict.fromkeys(chosen))


def _inside(folder: Path) -> list[Path]:
  return sorted(path for path in folder.iterdir() if _is_workdir(path)) if folder.is_dir() else []


def _is_workdir(folder: Path) -> bool:
  return (folder / "plan.json").is_file() or (folder / "trials").is_dir()


def listed(roots: Iterable[Path], where: str = "") -> list[dict[str, Any]]:
  """The trials of these workdirs that fulfil `where`, each with the config keys that it names or in which they differ.

  An item holds FIELDS, "config" {key: value} and "measures" {name: number}. Its status is that of the result,
  "unfinished" where there is none yet, or "damaged" with the cause. It is stale where code or data of it have changed
  since; "changed" names them, as the command does that runs it again.
  """
  condition = conditions.parse(where) if where.strip() else None
  stamp.forget()  # code and data as they are now
  items = [item for root in roots for item in _trials(root)]
  if condition is not None:
    rows = [{name: item[name] for name in FIELDS} | item["config"] | item["measures"] for item in items]
    items = [item for item, fits in zip(items, condition.chosen(rows), strict=True) if fits]
  named = () if condition is None else condition.names
  shown = sorted({*named, *_differing([item["config"] for item in items])})
  for item in items:
    item["config"] = {key: item["config"][key] for key in shown if key in item["config"]}
  return sorted(items, key=lambda item: (item["workdir"], *(_order(item["config"].get(key)) for key in shown)))


def _trials(root: Path) -> list[dict[str, Any]]:
  store = Store(root)
  keys = sorted(path.name for path in root.glob("trials/*") if path.is_dir())
  return [_trial(store, key, _command(root)) for key in keys]


def _command(root: Path) -> str:
  try:
    return str((stores.plan(root) or {}).get("command", ""))
  except Damaged:
    return ""


def _trial(store: Store, key: str, command: str) -> dict[str, Any]:
  item: dict[str, Any] = {"workdir": str(store.root), "command": command, "trial": key, "cause": None}
  config: Mapping[str, Any] = {}
  item |= {"stale": False, "changed": None}
  try:
    config = store.config(key)
    result = store.record(key)
    item |= {name: result.get(name) for name in ("status", "cause", "steps", "seconds")}
    item["measures"] = dict(result["measures"])
    if changed := _changed(config, result):
      item |= {"stale": True, "changed": ", ".join(changed)}
  except FileNotFoundError:
    rows = store.written(key)
    steps = int(rows[-1].get("step", 0)) if rows else 0
    item |= {"status": "unfinished", "steps": steps, "seconds": None, "measures": {}}
  except Damaged as damage:
    item |= {"status": "damaged", "cause": str(damage), "steps": 0, "seconds": None, "measures": {}}
  return item | {"config": flat(config)}


def _changed(config: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
  """What made a finished trial and is another today, or gone."""
  if result["status"] not in stores.FINISHED:
    return []  # whatever it was, the next command tries it again
  try:
    return list(dict.fromkeys([*stamp.changed(config, result), *_other_data(config, result)]))
  except OSError as error:
    return [f"{Path(error.filename or 'a file').name} (gone)"]
  except (KeyError, Refused) as error:  # a config of another version; a file that is no Python any more
    return [f"code ({error})"]


def _other_data(config: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
  """The names of the task's data files that are not what a stored trial read."""
  then, now, settings = result.get("data_sha256", {}), hashes(config), flat(config)
  return [Path(str(settings.get(name, name))).name for name in then if then[name] != now.get(name)]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """A nested config as {dotted key: value}."""
  pairs: dict[str, Any] = {}
  for name, value in tree.items():
    pairs |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
  return pairs


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
  """The keys that are not the same in all configs; what is no config (of a damaged trial) does not count."""
  configs = [config for config in configs if config]
  keys, absent = sorted({key for config in configs for key in config}), object()
  return [key for key in keys if any(config.get(key, absent) != configs[0].get(key, absent) for config in configs)]


def _order(value: Any) -> tuple:
  """Numbers by size, then words, then what is absent."""
  if isinstance(value, int | float):
    return (0, value, "")
  return (2, 0, "") if value is None else (1, 0, str(value))


def trained(root: Path) -> tuple[str, dict[str, Any]]:
  """The trial of a workdir of `assay train` and its config, proved to belong together. Raises Refused."""
  plan = _plan(root)
  key = plan.get("trial")
  if plan.get("command") != "train" or not isinstance(key, str):
    raise Refused(f"{root} is no workdir of `assay train`; train first, or give its folder")
  return key, config_of(root, key, "run `assay train` with the same config again")


def trial(root: Path, key: str = "") -> tuple[Path, str, dict[str, Any]]:
  """Workdir, trial and config of one stored trial: of `assay train`, or the one named, or WORKDIR/trials/KEY itself."""
  if root.parent.name == "trials" and not key:
    root, key = root.parent.parent, root.name
  plan = _plan(root)
  if not key and plan.get("command") == "train":
    return root, *trained(root)
  if not _is_workdir(root):
    raise Refused(f"{root} is no workdir; give the folder of a train, or of a sweep and one trial of it")
  there = sorted(path.name for path in root.glob("trials/*") if path.is_dir())
  if key not in there:
    asked = f"has no trial {key!r}" if key else f"holds {len(there)} trials"
    raise Refused(
      f"{root} {asked}; name one with trial=, such as {', '.join(there[:3])} (`assay runs {root}` lists them)"
    )
  return root, key, config_of(root, key, "run the command that made it again")


def config_of(root: Path, key: str, remedy: str) -> dict[str, Any]:
  """The config of a trial, proved to be the one its key was taken from. Raises Refused with the remedy."""
  try:
    config = Store(root).config(key)
    result = Store(root).result(key) or {}
    if (changed := _other_data(config, result)) and trial_key(config, result["data_sha256"]) == key:
      raise Refused(f"{', '.join(changed)} changed since trial {key} of {root} was made; {remedy}, or put it back")
    if trial_key(config, hashes(config)) != key:
      raise Damaged("config.json is not that of the trial")
  except FileNotFoundError as error:
    raise Refused(f"{root} keeps no model; {remedy}") from error
  except (Damaged, KeyError, TypeError) as damage:
    raise Refused(f"trial {key} of {root} is damaged ({damage}); {remedy}: it will run again") from damage
  return config


def _plan(root: Path) -> dict[str, Any]:
  try:
    return stores.plan(root) or {}
  except Damaged as damage:
    raise Refused(f"{root / 'plan.json'} is damaged ({damage}); run `assay check {root} --repair`") from damage
