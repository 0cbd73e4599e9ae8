"""What a stored check depends on."""

from experiments import calls
from experiments.claim import All, Check


def test_a_check_depends_on_the_kinds_that_it_names():
  files = calls.files(Check("add.evenness", All(())))
  assert {"experiments/checks/add.py", "model/attention/additive.py", "model/attention/dot.py"} <= set(files)
  assert "model/attention/additive.py" not in calls.files(Check("mech_sight.causal", All(())))


def test_a_bench_depends_on_what_it_measures():
  files = calls.files(calls.Bench("score.speed", All(())))
  assert {"experiments/bench/score.py", "model/attention/additive.py", "model/attention/dot.py"} <= set(files)
