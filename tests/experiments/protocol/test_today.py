"""What a row of today depends on is named by files that are there."""

from experiments.protocol import today
from experiments.record import digest


def test_what_no_bench_is_about_is_there():
  for name in today.AROUND:
    assert (digest.root() / "model" / f"{name}.py").is_file(), name
  for module in (*today.WITHIN_TIMED, *today.WITHIN_RECURRENT):
    path = digest.root() / module.replace(".", "/")
    assert path.is_dir() or path.with_suffix(".py").is_file(), module
