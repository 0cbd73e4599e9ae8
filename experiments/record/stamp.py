"""What a record says of how it was made: code digest, versions, device."""

import functools
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.record import corpora, digest

PACKAGES = ("attention-assay", "jax", "jaxlib", "flax", "optax")


def code(config: Mapping[str, Any]) -> dict[str, Any]:
  """The digest of the files that this config uses, and a short one of each by its name."""
  used = files(config)
  return {"code_sha256": _code(used), "code": _each(used)}


def changed(config: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
  """What made a stored result and is another today: names of files of code and of data; [] where nothing is.

  ["code"] where the result does not say which files it was made by.
  """
  data = [Path(path).name for path, sha256 in result.get("read", {}).items() if corpora.sha256_of(path) != sha256]
  used = files(config)
  if result.get("code_sha256") == _code(used):
    return data
  then, now = result.get("code", {}), _each(used)
  names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)] if then else []
  return list(dict.fromkeys([*(name.removeprefix("./") for name in names or ["code"]), *data]))


def files(config: Mapping[str, Any]) -> tuple[str, ...]:
  """The files that this config uses; one command never sees its own code change."""
  return _files(digest.starts(config))


@functools.lru_cache(maxsize=256)
def _files(starts: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(digest.closure(starts))


@functools.lru_cache(maxsize=256)
def _code(files: tuple[str, ...]) -> str:
  return digest.of_texts(_texts(files))


@functools.lru_cache(maxsize=256)
def _each(files: tuple[str, ...]) -> dict[str, str]:
  """8 hex digits of every file by its name: enough to say which one has changed."""
  return {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in _texts(files).items()}


def _texts(files: tuple[str, ...]) -> dict[str, str]:
  """What counts of each file, as it was when this command first looked: later it may be imported already."""
  for path in files:
    if path not in _first:
      _first[path] = digest.read(digest.root(), path).text
  return {name: _first[path] for name, path in digest.names(files).items()}


_first: dict[str, str] = {}


def forget() -> None:
  """Ends what one command knows: the next one of this process looks at code and data again."""
  for known in (_files, _code, _each):
    known.cache_clear()
  _first.clear()
  corpora.forget()


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
  """Versions of what computed; jax-free."""
  return {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}


@functools.lru_cache(maxsize=1)
def device() -> dict[str, Any]:
  """Backend and device name as jax sees them."""
  import jax

  first = jax.devices()[0]
  name = platform.processor() or platform.machine() if first.platform == "cpu" else first.device_kind
  return {"device": first.platform, "device_name": _cpu_name() or name if first.platform == "cpu" else name}


def _cpu_name() -> str:
  info = Path("/proc/cpuinfo")
  if not info.exists():
    return ""
  names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
  return f"{names[0]} ({len(names)} cores)" if names else ""
