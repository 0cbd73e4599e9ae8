"""Which files of the user's the code of a trial opened, so that another content of them is noticed.

A task may say what it reads (train/tasks/task.py); this is for what it does not say, and for mechanisms. Files of
Python and its packages, of this repository and of the system are nobody's data. Only what Python's `open` opens is
seen.
"""

import contextlib
import functools
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.record import corpora, digest
from train import compute

_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib")
_CODE = (".py", ".pyc", ".so", ".pth", ".dylib")

_noting = threading.local()
_opened: dict[str, str | None] = {}  # in this process, by path; the hash is taken when the files are closed again
_hooked: list[bool] = []


@contextlib.contextmanager
def noted() -> Iterator[None]:
  """While this lasts, the files that are opened for reading are noted."""
  if not _hooked:
    sys.addaudithook(_hook)
    _hooked.append(True)
  _noting.on = True
  try:
    yield
  finally:
    _noting.on = False
    for path, sha256 in list(_opened.items()):
      _opened[path] = sha256 or corpora.sha256_of(path)


def record(config: Mapping[str, Any]) -> dict[str, Any]:
  """{"read": {path: sha256}} of what was noted so far in this process; nothing where it is nothing.

  A file that a module reads when it is imported is read once, so a trial's record may name files of other trials.
  """
  declared = corpora.files(config)
  read = {path: sha256 for path, sha256 in _opened.items() if sha256 and path not in declared}
  return {"read": read} if read else {}


def _hook(event: str, arguments: tuple) -> None:
  if event != "open" or not getattr(_noting, "on", False):
    return
  path, _, flags = arguments
  if isinstance(path, str | bytes | os.PathLike) and not (flags or 0) & (os.O_WRONLY | os.O_RDWR):
    name = os.path.realpath(os.fsdecode(path))
    if name not in _opened and _is_data(name):
      _opened[name] = None


def _is_data(path: str) -> bool:
  return not path.endswith(_CODE) and not any(path == top or path.startswith(f"{top}/") for top in _foreign())


@functools.cache
def _foreign() -> tuple[str, ...]:
  """Folders whose files are no data of the user's."""
  installed = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
  caches = [compute.cache_folder(), os.environ.get("JAX_COMPILATION_CACHE_DIR") or compute.cache_folder()]
  ours = [digest.root() / name for name in digest.OURS]
  return tuple({os.path.realpath(path) for path in (*installed, *caches, *ours, *_SYSTEM)})
