"""Which device, driver and versions: what every figure of the others is of."""

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from experiments.bench import timing
from experiments.bench.gpu.figures import figure
from experiments.bench.gpu.parts import Request
from experiments.record import digest, stamp

PACKAGES = ("attention-assay", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "torch", "pytest", "jinja2")
QUERY = "name,driver_version,memory.total,compute_cap,power.limit,clocks.max.sm"


def measure(request: Request) -> Iterator[dict[str, Any]]:
  """The machine as jax, and where it is there nvidia-smi, see it; and that a product on the device is right."""
  import jax

  first = jax.devices()[0]
  yield {
    "details": {
      "backend": first.platform,
      "name": stamp.device()["device_name"],
      "count": jax.device_count(),
      "clock": timing.clock(),
      "platform_version": " ".join(str(getattr(first.client, "platform_version", "")).split()),
      "memory_bytes": (first.memory_stats() or {}).get("bytes_limit"),
      "nvidia_smi": smi(),
      "versions": versions(),
      "code_sha256": code(),
    }
  }
  yield {"figures": [figure("largest error of a product of 256 x 256", _error(), "1")]}


def _error() -> float:
  """Of a matrix product in full float32 against numpy's in float64, entries of size 1."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  a, b = np.random.default_rng(0).standard_normal((2, 256, 256)).astype(np.float32)
  found = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))(a, b)
  return float(np.abs(np.asarray(found) - a.astype(np.float64) @ b.astype(np.float64)).max() / np.sqrt(256))


def versions() -> dict[str, str]:
  """Versions of what is installed; what is not is left out."""
  found = {"python": platform.python_version()}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def code() -> str:
  """A digest of the syntax trees of model/, train/ and the benches."""
  root = digest.root()
  folders = (root / "model", root / "train", root / "experiments" / "bench")
  return digest.code_sha256(str(path.relative_to(root)) for folder in folders for path in folder.rglob("*.py"))


def smi() -> list[dict[str, str]]:
  """What the driver says of each card; [] where there is no nvidia-smi."""
  program = shutil.which("nvidia-smi")
  if program is None:
    return []
  command = [program, f"--query-gpu={QUERY}", "--format=csv,noheader"]
  try:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
  except (OSError, subprocess.TimeoutExpired):
    return []
  lines = done.stdout.splitlines() if done.returncode == 0 else []
  return [dict(zip(QUERY.split(","), map(str.strip, line.split(",")), strict=False)) for line in lines]


def installed(package: str) -> bool:
  """Whether a package can be imported, without importing it."""
  return importlib.util.find_spec(package) is not None
