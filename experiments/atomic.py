"""Files that are there whole or not at all, and never outside their root."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import Refused

LONGEST_NAME = 255  # bytes, of every file system in use


def canonical(value: Any, indent: int | None = None) -> str:
  """Strict JSON of plain, numpy or jax values: keys sorted, UTF-8 as it is, NaN and infinities as "nan" "inf" "-inf".

  Equal values give equal text, so that its digest may stand for the value.
  """
  separators = (",", ":") if indent is None else (",", ": ")
  return json.dumps(
    _plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
  )


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
  """Writes `canonical(value)` and a line end."""
  write_text(path, canonical(value, indent) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes UTF-8; line ends stay as they are, on every system."""
  write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
  """Replaces the file at once: a reader, or a reader after a crash, sees the old bytes or the new, never a part.

  The folder is made if need be. Refused in one line when the disk is full or the folder cannot be written; the old
  file then stands as it was.
  """
  path = Path(path)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
      with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
      os.chmod(draft, 0o666 & ~_umask())
      os.replace(draft, path)
    except BaseException:
      with contextlib.suppress(OSError):
        os.unlink(draft)
      raise
    _flush(path.parent)
  except OSError as error:
    raise Refused(f"{path} cannot be written: {error.strerror}; make room or choose another --workdir") from error


def inside(root: str | os.PathLike, path: str | os.PathLike) -> Path:
  """The absolute path of `path` below `root`; Refused when it leaves it by .., an absolute path or a link."""
  told, root = str(path), Path(root).resolve()
  if "\0" in told or any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(told).parts):
    raise Refused(f"{told[:60]!r} is no file name; use at most {LONGEST_NAME} bytes and no NUL")
  try:
    found = (root / path).resolve()
  except (OSError, RuntimeError) as error:  # a loop of links
    raise Refused(f"{told!r} cannot be followed below {root}; name a path without loops of links") from error
  if not found.is_relative_to(root):
    raise Refused(f"{told!r} leads out of {root}; name a path below it")
  return found


def _plain(value):
  if hasattr(value, "tolist"):  # numpy and jax, scalars and arrays
    value = value.tolist()
  if isinstance(value, float) and not math.isfinite(value):
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
  if isinstance(value, Mapping):
    keys = [key if isinstance(key, str) else canonical(key) for key in value]
    return dict(zip(keys, map(_plain, value.values()), strict=True))
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  return value


def _umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


def _flush(folder):
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
