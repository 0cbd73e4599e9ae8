"""From {"kind": ..., **options} to a module: the file's name is the registry, the constructor's signature its schema.

The options that all models share stand in model/schema.py. Nothing here imports jax until a class is asked for, so a
wrong name is answered at once.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import numbers
import signal
import sys
import threading
import traceback
import types
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from model import schema
from model.errors import Refused
from model.vocabulary import Vocabulary

INTERFACES = ("mechanism", "scheme", "task", "cell")  # files of a family that hold its base class, not a kind
CONTEXT = ("width", "heads", "kv_heads", "head_dim", "layer")  # what the builder gives, never an option
REQUIRED = inspect.Parameter.empty
IMPORT_SECONDS = 10.0  # what the import of a user's file may take


def kinds(family: str, package: str = "model") -> list[str]:
  """The kinds of a family: the files of its folder, read from the disk without importing them."""
  folder = Path(importlib.import_module(_folder(family, package)).__path__[0])
  stems = (path.stem for path in folder.glob("*.py"))
  return sorted(stem for stem in stems if not stem.startswith("_") and stem not in INTERFACES)


def resolve(family: str, kind: str, package: str = "model") -> Any:
  """The class of a kind: the one public class of model/<family>/<kind>.py, or of a user's `path/to/mine.py:Mine`."""
  if not isinstance(kind, str):
    raise Refused(f"{_called(family)}.kind={kind!r} is not a name; use one of {', '.join(kinds(family, package))}")
  if ":" in kind:
    return _user_class(_called(family), kind)
  known = kinds(family, package)
  if kind not in known:
    raise Refused(f"{_called(family)}.kind={kind} is unknown; use {_allowed(kind, known)}, or path/to/mine.py:Mine")
  module = importlib.import_module(f"{_folder(family, package)}.{kind}")
  found = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
  found = [c for c in found if c.__name__.replace("_", "").lower() == kind.replace("_", "")]
  assert len(found) == 1, f"{module.__name__} must define one class named like its file, found {found}"
  return found[0]


def options(cls: type) -> dict[str, tuple[Any, Any]]:
  """The options of a class, {name: (type, default)}: its arguments by keyword, less those that the builder gives."""
  hints = typing.get_type_hints(cls.__init__)
  own = {}
  for name, parameter in inspect.signature(cls.__init__).parameters.items():
    optional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not REQUIRED
    if (parameter.kind is parameter.KEYWORD_ONLY or optional) and name not in CONTEXT:
      own[name] = (hints.get(name, type(parameter.default)), parameter.default)
  return own


def make(family: str, given_options: Mapping[str, Any], *, package: str = "model", **given: Any) -> Any:
  """An instance of {"kind": ..., **options}; of `given` (width, heads, ...) the class gets what its signature names."""
  settings = dict(given_options)
  if "kind" not in settings:
    raise Refused(f"{family} has no kind; use {_allowed('', kinds(family, package))}")
  kind = settings.pop("kind")
  cls = resolve(family, kind, package)
  settings = check(f"{family} {kind}", settings, options(cls))
  accepted = inspect.signature(cls.__init__).parameters
  return cls(**{name: value for name, value in given.items() if name in accepted}, **settings)


def check(owner: str, settings: Mapping[str, Any], known: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
  """`settings` with their types made right; Refused for a name or a type that is not known."""
  for name in settings:
    if name not in known:
      raise Refused(f"{owner} has no option {name!r}; use {_allowed(name, known)}")
  for name, (_, default) in known.items():
    if default is REQUIRED and name not in settings:
      raise Refused(f"{owner} needs the option {name!r}, which has no default")
  return {name: _typed(owner, name, value, known[name][0]) for name, value in settings.items()}


def model(options: Mapping[str, Any], vocabulary: Vocabulary, dtype: str = "float32") -> Any:
  """The model of config["model"] for a task's vocabulary; parameters are zeros until `initial.draw` gives values.

  `dtype` is the dtype of activations; parameters, softmax and logits are float32. Whatever can be wrong with the
  options is Refused before anything is built, and nothing is drawn here: it may run under `nnx.eval_shape`.
  """
  settings = complete(options)
  if complaint := schema.OPTIONS["train.compute"].complaint(dtype):
    raise Refused(complaint)
  kind = settings["kind"]
  cls = resolve("models", kind)
  if ":" not in kind and cls.reads_source != bool(vocabulary.source):
    fit = (one for one in kinds("models") if resolve("models", one).reads_source != cls.reads_source)
    raise Refused(
      f"model.kind={kind} does not fit a task with {len(vocabulary.source)} source fields; "
      f"use {' or '.join(f'kind={one}' for one in fit)}"
    )
  return cls(settings, vocabulary, dtype)


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
  """All keys of a model: the given ones, checked, and the defaults of the others."""
  settings = _completed("model", schema.Model(), options)
  for complaint in schema.complaints(schema.flatten({"model": settings})):
    raise Refused(complaint)
  return settings


def _completed(owner: str, section: Any, given: Mapping[str, Any]) -> dict[str, Any]:
  """A section as a dict; what is not given has the value that the section's instance has."""
  defaults = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
  nested = {name for name, default in defaults.items() if dataclasses.is_dataclass(default)}
  hints = {field.name: dict if field.name in nested else field.type for field in dataclasses.fields(section)}
  settings = check(owner, given, {name: (hints[name], default) for name, default in defaults.items()})
  for name, default in defaults.items():
    if name not in nested:
      settings.setdefault(name, default)
    elif isinstance(default, schema.Slot):  # the options of its kind are the constructor's affair
      settings.setdefault(name, dataclasses.asdict(default))
    else:
      settings[name] = _completed(f"{owner}.{name}", default, settings.get(name, {}))
  return settings


def _called(family: str) -> str:
  """The family as configurations call it: models -> model, tasks -> task."""
  return family.removesuffix("s")


def _folder(family: str, package: str) -> str:
  """`model` + `attention`; a dotted family or package ("train.tasks") is the folder itself."""
  return family if "." in family else package if "." in package else f"{package}.{family}"


def _allowed(name: str, names: Iterable[str]) -> str:
  """The names to choose from, the nearest to what was written first."""
  names = sorted(names)
  near = schema.suggestion(name, names).strip()
  return ("one of " + ", ".join(names) if names else "none: it has no options") + (f" ({near})" if near else "")


def _typed(owner: str, name: str, value: Any, hint: Any) -> Any:
  """The value as the hint wants it (an int where a float stands is one, a list is a tuple), or Refused."""
  origin, parts = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any or (value is None and type(None) in parts):
    return value
  if origin in (typing.Union, types.UnionType):
    inner = [part for part in parts if part is not type(None)]
    if len(inner) == 1:
      return _typed(owner, name, value, inner[0])
  if origin is typing.Literal and value in parts:
    return value
  if hint is bool and isinstance(value, bool):
    return value
  if hint is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
    return int(value)
  if hint is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
    return float(value)
  if hint is str and isinstance(value, str):
    return value
  if (origin or hint) is tuple and isinstance(value, list | tuple):
    inner = parts[0] if len(parts) == 2 and parts[1] is Ellipsis else Any
    return tuple(_typed(owner, name, item, inner) for item in value)
  if hint is dict and isinstance(value, Mapping):
    return dict(value)
  wanted = " or ".join(map(str, parts)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
  raise Refused(f"{owner}: {name}={value!r} is {type(value).__name__}; use {wanted}")


def _user_class(family: str, kind: str) -> type:
  """The class of `path/to/mine.py:Mine`; the same file gives the same class as long as it is not written again."""
  file, name = kind.rsplit(":", 1)
  path = Path(file).expanduser()
  if path.suffix != ".py" or not path.is_file():
    raise Refused(f"{family}.kind={kind}: there is no python file {file}; write path/to/mine.py:Mine")
  module = _user_module(str(path.resolve()), path.stat().st_mtime_ns, f"{family}.kind={kind}")
  cls = getattr(module, name, None)
  if not inspect.isclass(cls):
    classes = [n for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__]
    raise Refused(f"{family}.kind={kind}: {file} has no class {name}; use {_allowed(name, classes)}")
  return cls


@functools.cache
def _user_module(path: str, written: int, asked: str) -> types.ModuleType:
  del written  # only part of the cache's key
  name = f"user_{zlib.crc32(path.encode()):08x}"
  spec = importlib.util.spec_from_file_location(name, path)
  assert spec is not None
  assert spec.loader is not None
  module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up by name
  _find_helpers(Path(path).parent)
  try:
    with _limited(asked):
      spec.loader.exec_module(module)
  except Refused:
    raise
  except (Exception, SystemExit, KeyboardInterrupt) as error:
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
      raise  # someone pressed Ctrl-C; a worker does not hear it
    steps = traceback.walk_tb(error.__traceback__)
    lines = [number for frame, number in steps if frame.f_code.co_filename == path] or [getattr(error, "lineno", 0)]
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise Refused(f"{asked} cannot be imported: {Path(path).name}:{lines[-1]}: {what}; correct the file") from error
  return module


class _Beside(str):
  """An entry of sys.path that `_find_helpers` wrote."""


_folders: set[str] = set()  # of users' files imported so far


def _find_helpers(folder: Path) -> None:
  """Lets a user's file import the modules beside it, from whatever folder the command runs; they come last.

  A helper of the same name beside another user's file is forgotten: each file gets its own.
  """
  others = _folders - {str(folder)}
  _folders.add(str(folder))
  sys.path[:] = [*(entry for entry in sys.path if not isinstance(entry, _Beside)), _Beside(folder)]
  for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and str(Path(file).parent) in others and (folder / f"{name}.py").is_file():
      del sys.modules[name]


@contextlib.contextmanager
def _limited(asked: str) -> Iterator[None]:
  """Refuses a file that does not come to its end; only the main thread can be woken.

  The time in which it imports a library is not its own, and no library is left amid its first lines. What it will
  import in any case, jax among it, is imported before.
  """
  import flax.nnx  # noqa: F401

  if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
    yield
    return

  def ring(_number, frame):
    if _importing_a_library(frame):
      signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, 1.0)
      return
    raise Refused(f"{asked} cannot be imported: it took longer than {IMPORT_SECONDS:g} s; correct the file")

  previous = signal.signal(signal.SIGALRM, ring)
  signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, 1.0)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, previous)


def _importing_a_library(frame: types.FrameType | None) -> bool:
  """Whether this frame works for the import of an installed library; configs/userfile.py tells why."""
  library = False
  while frame is not None:
    name = frame.f_code.co_filename
    if library and name.startswith("<frozen importlib"):
      return True
    library = library or "site-packages" in name
    frame = frame.f_back
  return False
