"""A folder of files under a sha256 manifest: any flipped, cut, lost or added byte is found before it is used."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

SCHEMA = 1
MANIFEST, DIGEST = "manifest.json", "manifest.json.sha256"


class Damaged(Exception):
  """Names the file and what is wrong with it, in one line."""


def seal(folder: Path, body: dict) -> None:
  """Writes `body` and the sha256 of every file below the folder, and forces all of it to the disk."""
  body = {**body, "schema": SCHEMA, "files": {name: _sha256(folder / name) for name in _files(folder)}}
  raw = (json.dumps(body, sort_keys=True) + "\n").encode()
  (folder / MANIFEST).write_bytes(raw)
  (folder / DIGEST).write_bytes(_line(raw))
  for where, _, names in os.walk(folder, topdown=False):
    for name in names:
      flush(os.path.join(where, name))
    flush(where)


def opened(folder: Path) -> dict:
  """The body, once every file is proved to be what was sealed; raises Damaged otherwise."""
  try:
    raw = (folder / MANIFEST).read_bytes()
    if (folder / DIGEST).read_bytes() != _line(raw):
      raise Damaged(f"{folder / MANIFEST} does not match its sha256")
    body = json.loads(raw)
    if body["schema"] != SCHEMA:
      raise Damaged(f"{folder / MANIFEST} has schema {body['schema']}, this version reads {SCHEMA}")
    there, listed = set(_files(folder)), body["files"]
    for name in sorted(there ^ set(listed)):
      raise Damaged(f"{folder / name} {'is missing' if name in listed else 'was added later'}")
    for name in sorted(listed):
      if _sha256(folder / name) != listed[name]:
        raise Damaged(f"{folder / name} does not match its sha256")
  except OSError as error:
    raise Damaged(f"{error.filename or folder} cannot be read ({error.strerror})") from error
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise Damaged(f"{folder / MANIFEST} is not a manifest ({type(error).__name__})") from error
  return body


def flush(path: str | os.PathLike) -> None:
  """Forces a file or a folder's entries to the disk."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    with contextlib.suppress(OSError):
      os.close(handle)


def _files(folder):
  """Relative names of all files but the manifest. A link to a folder counts too: none is saved, so it was added."""
  for where, folders, names in os.walk(folder):
    links = [name for name in folders if os.path.islink(os.path.join(where, name))]
    for path in (os.path.join(where, name) for name in (*names, *links)):
      name = os.path.relpath(path, folder).replace(os.sep, "/")
      if name not in (MANIFEST, DIGEST):
        yield name


def _sha256(path):
  if os.path.islink(path):
    return "a link"
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _line(raw):
  """What `sha256sum --check` reads."""
  return f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode()
