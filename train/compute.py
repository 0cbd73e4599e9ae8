"""What a process may use: CPU threads, a cache of compiled programs, the profiler. Set before the first computation."""

import contextlib
import os
from pathlib import Path


def cache_folder() -> Path:
  """Where compiled programs are kept: $ASSAY_CACHE, or the user's cache folder."""
  base = os.environ.get("ASSAY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"
  return Path(base) / "xla"


def cache_compiled(folder: str | os.PathLike | None = None) -> None:
  """Keeps compiled programs in `folder` from run to run, small ones too: on CPU compiling is the cost of a small run.

  A folder that cannot be made or written leaves the process without a cache, which changes its time and nothing else.
  """
  import jax

  folder = Path(folder or cache_folder())
  with contextlib.suppress(OSError):
    folder.mkdir(parents=True, exist_ok=True)
  if not os.access(folder, os.W_OK):
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def core_numbers() -> list[int]:
  """The numbers of the CPU cores that this process may run on: a container or a queue may give it only some."""
  return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def cores() -> int:
  """How many CPU cores this process may run on."""
  return len(core_numbers())


@contextlib.contextmanager
def profile(folder: str | os.PathLike | None):
  """Traces the block into `folder` (Perfetto and XProf read it); None switches the profiler off."""
  if folder is None:
    yield
    return
  import jax

  with jax.profiler.trace(str(folder)):
    yield
