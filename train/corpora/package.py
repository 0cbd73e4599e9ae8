"""Finds the files of an installed data package without running any of its code, and checks what was found."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from model.errors import Refused

REMEDY = "run `make data`"


def find(package: str) -> Path:
  """Folder of an installed top-level package; Refused when it is missing."""
  # find_spec of a dotted name would import the parent, so the name must be a plain one.
  if not package.isidentifier():
    raise Refused(f"data package {package!r} is not a top-level package name; allowed: letters, digits and _")
  try:
    spec = find_spec(package)
  except ValueError:  # somebody put a module without a spec under this name
    spec = None
  folders = list(spec.submodule_search_locations or ()) if spec else []
  if not folders:
    raise Refused(f"data package {package!r} is not installed; {REMEDY}")
  return Path(folders[0])


def verified(path: Path, sha256: str) -> bytes:
  """Content of a file whose hash is as expected; Refused when the file is missing or another one."""
  try:
    content = path.read_bytes()
  except OSError as error:
    raise Refused(f"data file {path.name} of package {path.parts[-3:][0]!r} cannot be read; {REMEDY}") from error
  found = hashlib.sha256(content).hexdigest()
  if found != sha256:
    raise Refused(f"data file {path.name} has sha256 {found[:12]}, expected {sha256[:12]}; {REMEDY}")
  return content
