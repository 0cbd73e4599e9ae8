"""What a stored check depends on, and that what has run stays when a later one fails."""

import pytest

from experiments.protocol import calls
from experiments.protocol.claim import All, Check
from experiments.run.progress import Progress
from experiments.run.runner import Options, Runner
from experiments.run.store import Store


def test_a_check_depends_on_the_kinds_that_it_names():
  files = calls.files(Check("add.checks.evenness", All(())))
  assert {"experiments/claims/add/checks.py", "model/attention/additive.py", "model/attention/dot.py"} <= set(files)
  assert "model/attention/additive.py" not in calls.files(Check("mech.checks_sight.causal", All(())))


def test_a_bench_depends_on_what_it_measures():
  files = calls.files(calls.Bench("score.speed", All(())))
  assert {"experiments/bench/score.py", "model/attention/additive.py", "model/attention/dot.py"} <= set(files)


def test_a_check_that_ran_is_kept_when_a_later_one_fails(tmp_path):
  good, bad = Check("norm.checks.placement", All(())), Check("norm.checks.absent", All(()))
  with (
    pytest.raises(RuntimeError, match="absent"),
    Progress("calls") as progress,
    Runner(Store(tmp_path), Options(jobs=1), progress) as runner,
  ):
    calls.run([good, bad], runner)
  with Progress("calls") as progress, Runner(Store(tmp_path), Options(jobs=1), progress) as runner:
    found = calls.run([good], runner)
    assert not runner.workers  # nothing ran
  assert set(found) == {"norm.checks.placement"}
  assert all(samples for samples in found["norm.checks.placement"].values())
