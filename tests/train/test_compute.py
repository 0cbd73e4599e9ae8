import json
import os
import subprocess
import sys

from train import compute

CODE = """
import json, os, sys
from train import compute
compute.cache_compiled(sys.argv[1])
import jax
import jax.numpy as jnp
def program(x):
  for i in range(40):
    x = jnp.sin(x @ x) + i
  return x
out = jax.jit(program)(jnp.ones((8, 8)))
with compute.profile(sys.argv[2] or None):
  jax.block_until_ready(jax.jit(lambda x: x + 1)(out))
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else None
print(json.dumps({"sum": float(out.sum()), "threads": threads, "cache": jax.config.jax_compilation_cache_dir}))
"""


def run(cache, traces="", threads=0):
  env = {key: value for key, value in os.environ.items() if not key.startswith("JAX_COMPILATION")}
  env |= {
    "NPROC": str(threads or compute.cores()),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "",
  }  # what compiles fast is not kept
  call = [sys.executable, "-c", CODE, str(cache), str(traces)]
  done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout)


def test_compiled_programs_are_kept_and_used_and_the_profiler_writes(tmp_path):
  first = run(tmp_path / "cache", tmp_path / "traces")
  kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*-cache")}
  assert kept
  assert any(path.is_file() for path in (tmp_path / "traces").rglob("*"))
  again = run(tmp_path / "cache", threads=1)
  assert again["sum"] == first["sum"]
  assert {path.name for path in (tmp_path / "cache").rglob("*-cache")} == set(kept)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
  (tmp_path / "file").write_text("")
  assert run(tmp_path / "file" / "cache")["cache"] is None


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
  monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
  assert compute.cache_folder() == tmp_path / "xla"
  monkeypatch.delenv("ASSAY_CACHE")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert compute.cache_folder() == tmp_path / "assay" / "xla"
