"""What a record says of how it was made: code digest, versions, device."""

import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import digest

PACKAGES = ("attention-assay", "jax", "jaxlib", "flax", "optax")


def code(config: Mapping[str, Any]) -> dict[str, Any]:
  """The digest of the files that this config uses."""
  return {"code_sha256": _code(files(config))}


def files(config: Mapping[str, Any]) -> tuple[str, ...]:
  """The files of ours that this config uses; one command never sees its own code change."""
  return _files(digest.starts(config))


@functools.lru_cache(maxsize=256)
def _files(starts: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(digest.closure(starts))


@functools.lru_cache(maxsize=256)
def _code(files: tuple[str, ...]) -> str:
  return digest.code_sha256(files)


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
