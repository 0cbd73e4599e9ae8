"""From a card, a file or a stored run, and key=value texts, to one complete and checked configuration."""

import copy
import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from configs import Refused, effect, slots
from configs.check import check, flatten, schema, unknown
from configs.userfile import call as guarded
from configs.userfile import run as guarded_import
from configs.values import conform, parse
from model.schema import defaults as schema_defaults

DEEPEST = 10  # sections within sections; a complete configuration has 3

Overrides = Mapping[str, object] | Iterable[str]
KINDS = ("model.kind", *(f"{slot}.kind" for slot in slots.SLOTS))  # keys that may name a file of the user's


def load(name_or_path: str, overrides: Overrides = (), *, shared: Overrides = ()) -> ConfigDict:
  """A checked configuration from a card of ours ("heads"), a path.py with get_config, or a run's config.json.

  overrides: what the user sets for this configuration; a key that has no effect in it is refused (configs/effect.py).
  shared: what the user sets for several at once, arms or points, and so without that rule: see `refuse_idle_shared`.
  """
  tree = _set(_card(str(name_or_path)), overrides, shared)
  check(tree)
  return ConfigDict(tree)


def resolved(name_or_path: str, overrides: Overrides = (), *, shared: Overrides = ()) -> dict:
  """What `resolve` makes of what `load` gives, completed and checked once."""
  return _finished(_set(_card(str(name_or_path)), overrides, shared))


def apply(config: ConfigDict | Mapping, overrides: Overrides = (), *, shared: Overrides = ()) -> ConfigDict:
  """A new configuration with overrides, given as texts "model.heads=4" or as {"model.heads": 4}.

  Every kind of a slot comes first: the slot is rebuilt from that kind's defaults and keeps what was chosen (values
  other than the old kind's defaults) where both kinds have the option. Then the rest, checked for name and type, and
  for having an effect; not so those of `shared`, over which the overrides go. A user's file gets its absolute path.
  Raises Refused in one line.
  """
  return ConfigDict(_set(complete(config), overrides, shared))


def refuse_idle_shared(name_or_path: str, shared: Overrides, configs: Iterable[ConfigDict | Mapping]) -> None:
  """Refuses what was set for several configurations alike, of one card, and has an effect in none of them."""
  flats = [flatten(complete(config)) for config in configs]
  effect.refuse_idle_everywhere(flats, flatten(_card(str(name_or_path))), _pairs(shared))


def resolve(config: ConfigDict | Mapping, overrides: Overrides = ()) -> dict:
  """The complete, checked configuration as a plain dict with sorted keys, equal to what its JSON reads back.

  With overrides, which are applied as `apply` does.
  """
  return _finished(_set(complete(config), overrides))


def _finished(tree: dict) -> dict:
  check(tree)
  types = schema(tree)
  for key, value in flatten(tree).items():
    value = conform(value, types[key])
    _put(tree, key, list(value) if isinstance(value, tuple) else value)
  return _sorted(tree)


def complete(config: ConfigDict | Mapping) -> dict:
  """A plain deep copy in which missing keys have their defaults: of base.py, and of the kinds in the slots."""
  tree = config.to_dict() if isinstance(config, ConfigDict) else copy.deepcopy({**config})
  _fill_from(tree, schema_defaults(), "")
  return _fill(_located(tree))


def located(name_or_path: str) -> str:
  """The name of a card as it is; of a file, or of a run's folder, its absolute path, links followed."""
  name = str(name_or_path)
  if name.endswith((".py", ".json")):
    return str(slots.existing(name) or name)
  return name if name in _cards() or not _is_stored(name) else str(Path(name).expanduser().resolve())


def points(name_or_path: str) -> list[dict]:
  """The points that a card's sweep() asks for, as overrides; Refused when it has none."""
  name = str(name_or_path)
  if _is_stored(name):
    raise Refused(f"--config={name} is one stored run, not a sweep; give a card, or axes such as model.heads=1,2,4")
  module = _module(name)
  if not callable(getattr(module, "sweep", None)):
    raise Refused(f"--config={name} has no sweep(); add one that returns a list of overrides, or give axes")
  found = _called(name, module.sweep)
  if not isinstance(found, list | tuple) or not all(isinstance(point, Mapping) for point in found) or not found:
    raise Refused(f"--config={name}: sweep() returned {found!r:.80}; allowed: a list of points {{dotted key: value}}")
  beside = _beside(name)
  return [{key: _at_home(key, value, beside) for key, value in point.items()} for point in found]


def _pairs(overrides: Overrides) -> dict:
  if isinstance(overrides, Mapping):
    return dict(overrides)
  pairs = {}
  for text in [overrides] if isinstance(overrides, str) else overrides:
    key, equals, value = str(text).removeprefix("--config.").partition("=")
    if not equals or not key.strip():
      raise Refused(f"override {text!r} is not key=value; write for instance model.heads=4")
    pairs[key.strip()] = value.strip()
  return pairs


def _set(tree: dict, overrides: Overrides = (), shared: Overrides = ()) -> dict:
  """A complete tree with overrides; refuses those, but not what is shared, that have no effect in it."""
  before, own = flatten(tree), _pairs(overrides)
  _write(tree, _pairs(shared) | own)
  effect.refuse_idle(flatten(tree), before, own)
  return _fill(tree)


def _write(tree: dict, pairs: Mapping) -> None:
  """Writes pairs into a complete tree, kinds first."""
  kind_keys = {f"{slot}.kind": slot for slot in slots.SLOTS}
  for key, value in pairs.items():
    if key in kind_keys:
      _change_kind(tree, kind_keys[key], _at_home(key, value, None))
  types = schema(tree)
  for key, value in pairs.items():
    if key in kind_keys:
      continue
    if key not in types:
      if any(one.startswith(f"{key}.") for one in types):
        inside = [one for one in types if one.startswith(f"{key}.")]
        raise Refused(f"{key}={value!r} is a section, not a value; set one of {', '.join(inside)}")
      raise Refused(unknown(key, value, types))
    _put(tree, key, _typed(key, _at_home(key, value, None), types[key]))


def _located(tree: dict, beside: Path | None = None) -> dict:
  """Gives every kind of a user's, path/to/mine.py:Mine, its absolute path: workers run in other folders."""
  for key in KINDS:
    parent, _, name = key.rpartition(".")
    node = _peek(tree, parent)
    if isinstance(node, dict) and name in node:
      node[name] = _at_home(key, node[name], beside)
  task = _peek(tree, "task")
  if isinstance(task, dict):
    task |= {name: _at_home(f"task.{name}", value, beside) for name, value in task.items()}
  return tree


def _at_home(key: str, value, beside: Path | None):
  """A value as it is, but for the file of a kind or of a task's data: from the current folder, else from `beside`."""
  if not isinstance(value, str):
    return value
  if key not in KINDS:
    return _data(value, beside) if key.startswith("task.") else value
  try:
    return slots.located(value, beside)
  except Refused as error:
    raise Refused(slots.about(key.removesuffix(".kind"), error)) from None


def _data(value: str, beside: Path | None) -> str:
  """The absolute path of a file that a task's option names; any other value as it is.

  A name without a folder or an ending is a word, as in experiments/record/corpora.py.
  """
  if not ("/" in value or "." in value):
    return value
  path = slots.existing(value) or (slots.existing(beside / value) if beside is not None else None)
  return value if path is None else str(path)


def at_home(overrides: Mapping[str, object], folder: Path) -> dict[str, object]:
  """Overrides in which every file of the user's has its absolute path, from the current folder or from this one."""
  return {key: _at_home(key, value, folder) for key, value in overrides.items()}


def _beside(name: str) -> Path | None:
  """The folder of a card or of a stored run that is a file."""
  path = slots.existing(name) or slots.existing(Path(name, "config.json"))
  return path.parent if path is not None else None


def _peek(tree: dict, path: str) -> object:
  for name in path.split("."):
    tree = tree.get(name, {}) if isinstance(tree, dict) else {}
  return tree


def _change_kind(tree: dict, slot: str, kind) -> None:
  """Rebuilds a slot; chosen values stay where the new kind has an option of that name and type.

  An old default does not stay: cosine's temperature 10 must not become dot's scale.
  """
  if not isinstance(kind, str):
    raise Refused(f"{slot}.kind={kind!r} must be a word, such as {slots.kinds(slots.SLOTS[slot])[0]}")
  old = _node(tree, slot)
  if old.get("kind") == kind:
    return
  family = slots.SLOTS[slot]
  try:
    options = slots.options(family, kind)
  except Refused as error:
    raise Refused(slots.about(slot, error)) from None
  new = {"kind": kind, **slots.defaults(family, kind)}
  unchosen = slots.defaults(family, old["kind"])
  for name in options.keys() & old.keys():
    if name in unchosen and old[name] == unchosen[name]:
      continue
    try:
      new[name] = conform(old[name], options[name]["type"])
    except ValueError:
      continue  # the same name for another type: the new default stands
  _put(tree, slot, new)


def _typed(key: str, value, kind: str):
  """`value` as this key's type; a text is parsed, unless the key holds texts."""
  try:
    return parse(value, kind) if isinstance(value, str) and kind != "str" else conform(value, kind)
  except ValueError as error:
    raise Refused(f"{key}={value!r} has the wrong type or size; {error}") from None


def _fill(tree: dict) -> dict:
  """Gives every slot the defaults of its kind."""
  for slot, family in slots.SLOTS.items():
    node = _node(tree, slot)
    if not isinstance(node.get("kind"), str):
      raise Refused(f"{slot}.kind={node.get('kind')!r} must be a word; allowed: {', '.join(slots.kinds(family))}")
    try:
      defaults = slots.defaults(family, node["kind"])
    except Refused as error:
      raise Refused(slots.about(slot, error)) from None
    for name, default in defaults.items():
      node.setdefault(name, default)
  return tree


def _fill_from(tree: dict, defaults: Mapping, prefix: str) -> None:
  for name, value in defaults.items():
    if isinstance(value, Mapping):
      node = tree.setdefault(name, {})
      if not isinstance(node, dict):
        raise Refused(f"{prefix}{name}={node!r} must be a section with {', '.join(value)}")
      _fill_from(node, value, f"{prefix}{name}.")
    elif isinstance(tree.setdefault(name, value), list):
      tree[name] = tuple(tree[name])


def _card(name: str) -> dict:
  """The complete tree of a card or a stored run; paths in it start at the current folder, else at its own."""
  tree = _complete(_read(name), name)
  if name.endswith(".py"):
    _refuse_idle_card(name, tree)
  return tree


def _complete(config: ConfigDict | Mapping, name: str) -> dict:
  tree = config.to_dict() if isinstance(config, ConfigDict) else copy.deepcopy({**config})
  return complete(_located(tree, _beside(name)))


def _refuse_idle_card(name: str, tree: dict) -> None:
  """Refuses what a user's card sets, other than the defaults, and what has no effect in the card as it stands."""
  kinds = {slot: _node(tree, slot)["kind"] for slot in slots.SLOTS}
  defaults = complete({})
  before = flatten(defaults)
  for slot, kind in kinds.items():
    _put(defaults, slot, {"kind": kind})
  before = flatten(_fill(defaults)) | {f"{slot}.kind": before[f"{slot}.kind"] for slot in kinds}
  flat = flatten(tree)
  try:
    effect.refuse_idle(flat, before, flat)
  except Refused as error:
    raise Refused(f"--config={name}: {error}") from None


def _read(name: str) -> ConfigDict | Mapping:
  if _is_stored(name):
    return _shallow(name, _stored(name))
  module = _module(name)
  if not callable(getattr(module, "get_config", None)):
    raise Refused(f"--config={name} has no get_config(); define one that returns an ml_collections ConfigDict")
  config = _called(name, module.get_config)
  if not isinstance(config, ConfigDict | Mapping):
    raise Refused(f"--config={name}: get_config() returned {type(config).__name__}; allowed: a ConfigDict")
  return _shallow(name, config)


def _is_stored(name: str) -> bool:
  return name.endswith(".json") or slots.existing(Path(name, "config.json")) is not None or bool(_runs(Path(name)))


def _runs(workdir: Path) -> list[Path]:
  """The configs of the runs that a workdir holds."""
  try:
    return sorted(workdir.expanduser().glob("trials/*/config.json"))
  except (OSError, ValueError, RuntimeError):
    return []  # no name of a folder


def _only_run(name: str) -> Path | None:
  """The config of a workdir's one run, where `name` is WORKDIR or WORKDIR/config.json; Refused where it holds more."""
  path = Path(name)
  found = _runs(path.parent if path.name == "config.json" else path)
  if len(found) > 1:
    raise Refused(f"--config={name!r}: {found[0].parents[2]} holds {len(found)} runs; give one, such as {found[0]}")
  return found[0] if found else None


def _stored(name: str) -> Mapping:
  path = slots.existing(Path(name, "config.json")) or slots.existing(name)
  path = _only_run(name) if path is None or path.is_dir() else path
  if path is None:
    raise Refused(f"--config={name!r}: there is no such file; give the config.json of a stored run")
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except RecursionError:
    raise Refused(f"--config={name} nests too deeply; give the config.json of a stored run") from None
  except (OSError, ValueError) as error:
    raise Refused(f"--config={name} is not JSON ({error}); give the config.json of a stored run") from None
  if not isinstance(config, dict):
    raise Refused(f"--config={name} holds no configuration; give the config.json of a stored run")
  return config


def _module(name: str):
  """The module of a card of ours or of a user's path.py."""
  if not name.endswith(".py"):
    if name not in _cards():
      hint, known = slots.suggestion(name, _cards()), ", ".join(_cards())
      raise Refused(f"--config={name!r} is no card: {hint}allowed: {known}, path/to/card.py or a config.json")
    return importlib.import_module(f"configs.{name}")
  path = slots.existing(name)
  if path is None:
    raise Refused(f"--config={name!r}: there is no such file; give a path from the current folder or an absolute one")
  return guarded_import(path, f"card_{path.stem}", f"--config={name}")


def _cards() -> tuple[str, ...]:
  from configs.sweep import cards

  return cards()


def _called(name: str, function):
  """What a card's function returns; whatever stops a user's is told in one line."""
  return guarded(function, slots.existing(name), f"--config={name}") if name.endswith(".py") else function()


def _shallow(name: str, config: ConfigDict | Mapping) -> ConfigDict | Mapping:
  """The configuration, unless it nests deeper than any that we read; Python would end on its own at about 1000."""
  level: list[object] = [config]
  for _ in range(DEEPEST):
    level = [
      value for node in level if isinstance(node, ConfigDict | Mapping | list | tuple) for value in _inside(node)
    ]
  if level:
    raise Refused(f"--config={name} nests more than {DEEPEST} sections; give sections such as model.attention.kind")
  return config


def _inside(node: ConfigDict | Mapping | list | tuple) -> Iterable[object]:
  return node if isinstance(node, list | tuple) else node.values()


def _node(tree: dict, path: str) -> dict:
  for name in path.split("."):
    tree = tree[name]
  return tree


def _put(tree: dict, key: str, value) -> None:
  parent, _, name = key.rpartition(".")
  (_node(tree, parent) if parent else tree)[name] = value


def _sorted(tree: Mapping) -> dict:
  return {name: _sorted(value) if isinstance(value, Mapping) else value for name, value in sorted(tree.items())}
