"""Files that are there whole or not at all, sealed so that a changed byte is found."""

import contextlib
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import Refused

SEAL = "sha256"  # the key of a sealed document that holds the hash of all the rest


class Damaged(Exception):
  """A file is not what was written; says what is wrong with it in a few words. It can be made again."""


class Unsealed(Damaged):
  """A document without a checksum, as earlier versions wrote them: nobody can tell whether it was changed."""


def canonical(value: Any, indent: int | None = None, *, ascii: bool = False) -> str:
  """Strict JSON of plain, numpy or jax values: keys sorted, NaN and infinities as "nan" "inf" "-inf".

  Equal values give equal text, so that its hash may stand for the value. UTF-8 as it is, or escaped with `ascii`:
  keys of trials are hashes of that spelling.
  """
  return _spelled(_plain(value), indent, ascii)


def write_json(path: str | os.PathLike, value: Any, indent: int | None = None) -> None:
  """Writes `canonical(value)` and a line end."""
  write_text(path, canonical(value, indent) + "\n")


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
  """The document with the hash of its canonical text under "sha256"; an old hash is replaced."""
  body = {name: item for name, item in value.items() if name != SEAL}
  return {**body, SEAL: sha256(canonical(body))}


def write_sealed(path: str | os.PathLike, value: Mapping[str, Any]) -> None:
  """Writes the sealed document as `write_json` does."""
  write_json(path, sealed(value))


def unsealed(text: str) -> dict[str, Any]:
  """The document that `sealed` made this canonical text from. Raises Damaged for every other text.

  The text itself must be canonical: a space, a line end or another spelling of a number is a change too.
  """
  try:
    found = json.loads(text, parse_constant=_no_constant)
    if not isinstance(found, dict):
      raise Damaged(f"no document but a {type(found).__name__}")
    if SEAL not in found:
      raise Unsealed("stored without a checksum")
    if _spelled(found) != text:
      raise Damaged("not spelled as it was written")
    seal = found.pop(SEAL)
    if sha256(_spelled(found)) != seal:
      raise Damaged("its checksum does not match")
  except RecursionError as error:
    raise Damaged("no JSON of ours: too deep") from error
  except ValueError as error:
    raise Damaged("no valid JSON") from error
  return found


def read_sealed(path: str | os.PathLike, schema: int = 1) -> dict[str, Any]:
  """The document of `write_sealed`, without its seal. Raises FileNotFoundError, or Damaged for all that is wrong."""
  text = decoded(read_bytes(path))
  if not text.endswith("\n"):
    raise Damaged("cut short" if text else "empty")
  found = unsealed(text[:-1])
  if found.get("schema") != schema:
    raise Damaged(f"schema {found.get('schema')!r}, this version reads {schema}")
  return found


def read_bytes(path: str | os.PathLike) -> bytes:
  """All bytes of a regular file. Raises FileNotFoundError where there is nothing, Damaged for all else in its place."""
  try:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end, nor would /dev/zero
      raise Damaged("no file")
    with open(path, "rb") as file:
      return file.read()
  except FileNotFoundError:
    if os.path.islink(path):
      raise Damaged("a link to nothing") from None
    raise
  except OSError as error:
    raise Damaged(f"cannot be read ({error.strerror})") from error


def decoded(data: bytes) -> str:
  """UTF-8 as text; Damaged where it is none."""
  try:
    return data.decode("utf-8")
  except UnicodeDecodeError as error:
    raise Damaged("no UTF-8") from error


def sha256(data: str | bytes) -> str:
  """64 hexadecimal digits."""
  return hashlib.sha256(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).hexdigest()


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


def _spelled(plain: Any, indent: int | None = None, ascii: bool = False) -> str:
  """`canonical` of what came from JSON, or went through `_plain`."""
  separators = (",", ":") if indent is None else (",", ": ")
  return json.dumps(plain, sort_keys=True, ensure_ascii=ascii, allow_nan=False, indent=indent, separators=separators)


def _no_constant(name: str):
  raise ValueError(f"{name} is no JSON")


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
