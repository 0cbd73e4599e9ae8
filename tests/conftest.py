"""Tests run on the CPU, remember what they compiled, and in CI may not skip a peer or a service.

JAX_PLATFORMS=cuda,cpu with -m gpu runs the tests that need a GPU.
"""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A job in the background, or under nohup, is started with these ignored, and so would be all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Before jax is imported, and as variables, so that subprocesses inherit them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
# Most of a test's time is the compiler's, and most of that is optimization; an accelerator's compiler stays as it is.
BRIEF = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
if os.environ["JAX_PLATFORMS"] == "cpu":
  os.environ["XLA_FLAGS"] = f"{BRIEF} {os.environ.get('XLA_FLAGS', '')}".strip()

# Time differs between machines and says nothing about truth.
settings.register_profile("assay", deadline=None, print_blob=True)
settings.load_profile("assay")

MUST_RUN = {"peer", "service"}


def in_ci() -> bool:
  return os.environ.get("CI", "").lower() in ("true", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
  """In CI a comparison with a peer that did not take place is a failure."""
  report = yield
  if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
    marks = MUST_RUN & {mark.name for mark in item.iter_markers()}
    if marks:
      _fail(report, f"a {' and '.join(sorted(marks))} test may not be skipped in CI")
  return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
  """In CI a whole file skipped for a missing package is a failure too."""
  report = yield
  if in_ci() and report.skipped:
    _fail(report, "a file may not be skipped in CI")
  return report


def _fail(report, rule):
  reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
  report.outcome = "failed"
  report.longrepr = f"{report.nodeid}: {rule}: {reason}"
