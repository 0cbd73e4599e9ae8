"""Which data files a config reads, by their hashes; part of every trial's key. The parent stays free of jax."""

import functools
import importlib
from collections.abc import Mapping
from typing import Any

from configs import slots


def hashes(config: Mapping[str, Any]) -> dict[str, str]:
  """sha256 by package of the data that the config's task needs; the worker verifies the file when it reads it."""
  return {name: importlib.import_module(f"train.corpora.{name}").SHA256 for name in _needs(config["task"]["kind"])}


@functools.lru_cache(maxsize=64)
def _needs(kind: str) -> tuple[str, ...]:
  return tuple(slots.describe("tasks", kind)["attributes"].get("needs", ()))


def present(config: Mapping[str, Any]) -> None:
  """Raises Refused when a package that the config's task needs is not installed."""
  from train.corpora import package

  for name in hashes(config):
    package.find(importlib.import_module(f"train.corpora.{name}").PACKAGE)
