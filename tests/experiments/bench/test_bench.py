"""Benches: exponents from known laws, calls that take turns, processes that end, documents, refusals, interruptions."""

import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bench import attention_growth, growth, recurrent, timing
from experiments.cli import cli
from experiments.cli.commands import bench
from model.errors import Refused
from tests.experiments.process import ROOT

MINE = """
from model.attention.dot import Dot
from model.attention.mechanism import Supports
from model.errors import Refused


class Twofold(Dot):
  views = 2
  supports = Supports(tied=True)

  def __call__(self, q, k, v, mask, scheme=None, *, block=None, key=None):
    assert [one.shape for one in k] == [one.shape[:3] + one.shape[4:] for one in q]
    return super().__call__(q[0], k[1], v[0] + v[1], mask)


class Never(Dot):
  def __call__(self, q, k, v, mask, scheme=None, *, block=None, key=None):
    raise Refused(f"{q.shape[1]} tokens are never right; use others")


class Broken(Dot):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, depth: int = 1):
    raise TypeError(f"depth {depth}")
"""


@given(st.floats(-3, 3), st.floats(1e-6, 1e3), st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True))
def test_the_exponent_of_a_power_law_is_its_power(power, factor, lengths):
  assert growth.exponent(lengths, [factor * n**power for n in lengths]) == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(
  ("lengths", "expected"),
  [([], []), ([512], []), ([64, 512], [64, 512]), ([512, 1024, 2048, 4096, 8192], [2048, 4096, 8192])],
)
def test_the_top_octaves_are_where_the_leading_term_rules(lengths, expected):
  assert growth.top(lengths) == expected


def cell(seconds, memory=0, status="done", compiling=1.0):
  facts = {"memory_bytes": memory, "output_bytes": 8, "compile_seconds": compiling}
  return {"status": status, "reason": "" if status == "done" else f"too {status}", "seconds": seconds} | facts


def made_up(powers=(1.9, 2.0, 2.1), lengths=(256, 512, 1024, 2048)):
  """Three processes: naive quadratic but skipped at the end, `line` linear in memory with one power per process."""
  naive = lambda n: cell([] if n > 1024 else [2e-6 * n**2] * 3, n**2, "skipped" if n > 1024 else "done")  # noqa: E731
  line = lambda n, p: cell([1e9, 1e-6 * n**p, 1e-9], 4 * n, compiling=3.0)  # noqa: E731
  dot = cell([1.0], 1)
  return {n: [{"naive": naive(n), "dot": dot, "line": line(n, power)} for power in powers] for n in lengths}


def test_processes_are_the_unit_of_exponents():
  row = growth.row("line", made_up(), "naive", "dot")
  fitted = row["time"]["fitted"]
  assert fitted["lengths"] == [512, 1024, 2048]
  assert fitted["value"] == pytest.approx(2.0)
  # Student's t with two degrees of freedom: 4.303 standard errors of .1 / sqrt(3).
  np.testing.assert_allclose(fitted["ci"], [2 - 0.24841, 2 + 0.24841], atol=1e-4)
  assert [(one["from"], one["to"], one["n"]) for one in row["time"]["local"]] == [
    (256, 512, 3),
    (512, 1024, 3),
    (1024, 2048, 3),
  ]
  assert row["memory"]["fitted"]["value"] == pytest.approx(1.0)
  assert row["memory"]["fitted"]["method"] == "none"
  assert row["compile_over_dot"] == 3.0
  single = growth.row("line", made_up((2.0,)), "naive", "dot")["time"]["fitted"]
  assert single["ci"] == [-float("inf"), float("inf")]


def test_ratios_are_paired_by_process_and_what_is_skipped_keeps_the_compilers_count():
  found = made_up()
  for process, seconds in zip(found[256], (1.0, 2.0, 4.0), strict=True):
    process["naive"]["seconds"], process["line"]["seconds"] = [seconds], [3 * seconds]
  line, naive = (growth.row(name, found, "naive", "dot") for name in ("line", "naive"))
  assert line["lengths"][0]["over_naive"] == 3.0
  assert line["lengths"][-1]["over_naive"] is None
  assert line["lengths"][-1]["memory_over_naive"] == pytest.approx(4 / 2048)
  assert naive["lengths"][-1]["status"] == "skipped"
  assert naive["time"]["fitted"]["lengths"] == [256, 512, 1024]
  assert naive["memory"]["fitted"]["lengths"] == [512, 1024, 2048]
  assert list(growth.notes([line, naive])) == ["naive at 2048: skipped: too skipped"]


def test_calls_take_turns_and_short_ones_are_repeated(monkeypatch):
  now, order = [0.0], []

  def work(name, seconds):
    order.append(name)
    now[0] += seconds

  def timed(call):
    began = now[0]
    return call(), now[0] - began

  monkeypatch.setattr(timing, "timed", timed)
  turns = {"slow": timing.Turn(lambda: work("slow", 2.0)), "fast": timing.Turn(lambda: work("fast", timing.TURN / 2))}
  assert order == ["slow", "fast"]
  order.clear()
  found = list(timing.rounds(turns, 2))
  assert order == ["slow", "fast", "fast", "fast"] * 2
  assert all(times == pytest.approx({"slow": 2.0, "fast": timing.TURN / 2}) for times in found)


ENDS = """
import os, signal, time

from model.errors import Refused


def forever(request):
  yield {"event": "hello", "pid": os.getpid(), "asked": request, "setting": os.environ["SETTING"]}
  time.sleep(600)


def broken(request):
  raise TypeError("of no use")


def refusing(request):
  raise Refused("use another")


def killed(request):
  os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ends(tmp_path, monkeypatch):
  """A module that processes can import."""
  (tmp_path / "ends.py").write_text(ENDS)
  monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")


def test_a_fresh_process_ends_with_its_reader(ends):
  events = timing.fresh("ends.forever", {"x": 1}, {"SETTING": "on"})
  first = next(events)
  assert (first["asked"], first["setting"]) == ({"x": 1}, "on")
  os.kill(first["pid"], 0)  # it lives
  events.close()
  with pytest.raises(ProcessLookupError):
    os.kill(first["pid"], 0)


@pytest.mark.parametrize(
  ("function", "error", "said"),
  [
    ("broken", RuntimeError, "TypeError: of no use"),
    ("refusing", Refused, "use another"),
    ("killed", Refused, "memory"),
  ],
)
def test_how_a_fresh_process_can_fail(ends, function, error, said):
  with pytest.raises(error, match=said):
    list(timing.fresh(f"ends.{function}", {}))


def test_naive_and_the_mechanisms_compute_the_same():
  size = attention_growth.Size(1, 2, 4, "causal")
  subjects = [attention_growth.Subject("dot", {"kind": "dot"}, block) for block in (None, 7)]
  functions = [attention_growth._naive(20, size), *(attention_growth.attention(one, 20, size) for one in subjects)]
  naive, *others = [jax.jit(function)(*inputs) for function, inputs in functions]
  for other in others:
    for ours, theirs in zip(jax.tree.leaves(other), jax.tree.leaves(naive), strict=True):
      np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=1e-5)


def test_the_command_measures_what_can_be_measured_and_says_what_cannot(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text(MINE)
  mine = "mine.py:Twofold:scale=1.0,mine.py:Never,mine.py:Broken:depth=2"
  sizes = ["--lengths=64,16", "--processes=1", "--repeats=2", "--heads=2", "--head_dim=8", "--limit=1e-4"]
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  code = cli.main(["bench", "attention_growth", f"--mechanisms={mine}", *sizes, "--workdir=work", "--json"])
  out, _ = capsys.readouterr()
  document = json.loads(out)
  assert code == 3  # one is broken
  assert document == json.loads((tmp_path / "work" / "bench" / "attention_growth.json").read_text())
  assert {"schema", "name", "complete", "device", "versions", "settings", "rows", "notes", "run"} == set(document)
  assert {"device", "device_name", "clock", "cores", "load_before", "load_after"} == set(document["device"])
  assert (document["schema"], document["name"], document["complete"]) == (1, "attention_growth", True)
  assert document["settings"]["lengths"] == [16, 64]
  assert document["settings"]["limit_bytes"] == 1e-4 * 2**30
  rows = {row["name"]: row for row in document["rows"]}
  statuses = {name: [entry["status"] for entry in row["lengths"]] for name, row in rows.items()}
  assert statuses == {
    "naive": ["done", "skipped"],
    "dot": ["done", "skipped"],
    "dot blockwise": ["done", "skipped"],
    "mine.py:Twofold scale=1.0": ["done", "skipped"],
    "mine.py:Never": ["refused", "refused"],
    "mine.py:Broken depth=2": ["failed", "failed"],
  }
  first = rows["dot"]["lengths"][0]
  assert first["over_naive"] == first["seconds"] / rows["naive"]["lengths"][0]["seconds"]
  assert first["memory_bytes"] >= 2 * 16 * 16 * 4  # the scores
  assert first["output_bytes"] >= 3 * 16 * 2 * 8 * 4  # three gradients
  assert rows["mine.py:Never"]["lengths"][0]["reason"] == "16 tokens are never right; use others"
  assert rows["mine.py:Twofold scale=1.0"]["options"] == {"kind": "mine.py:Twofold", "scale": 1.0}
  assert rows["naive"]["memory"]["fitted"]["value"] > 1
  assert any("mine.py:Broken depth=2 at 16, 64: failed: TypeError: depth 2" in note for note in document["notes"])


HELLO = {"event": "hello", "device": {"device": "cpu", "device_name": "made up", "clock": "process time"}}


def pretend(monkeypatch, last=lambda: None):
  """No process is started: benches get made-up figures, and `last` happens before the last length."""

  def fresh(function, request, environment=None):
    yield HELLO
    if function.endswith("sample"):
      yield {"event": "samples", "samples": {"ratio": [1.0, 2.0, 3.0]}}
      return
    if function.endswith("recurrent.one"):
      yield {"event": "measured", "seconds": {kind: {"ours": 0.02, "pytorch": 0.01} for kind in recurrent.PEERS}}
      return
    for length, processes in made_up(lengths=request["lengths"]).items():
      yield {"event": "did", "length": length, "units": 1}
      if length == request["lengths"][-1]:
        last()
      cells = processes[request["process"]]
      cells = {subject.name: cells.get(subject.name, cells["line"]) for subject in request["subjects"]}
      yield {"event": "measured", "length": length, "cells": cells}

  monkeypatch.setattr(timing, "fresh", fresh)


def test_all_benches_are_one_document_and_one_file_each(tmp_path, monkeypatch, capsys):
  pretend(monkeypatch)
  monkeypatch.chdir(tmp_path)
  assert cli.main(["bench", "all", "--lengths=256,512", "--json"]) == 0
  items = json.loads(capsys.readouterr().out)["items"]
  folder = tmp_path / "assay-results" / "bench-all" / "bench"
  assert [item["name"] for item in items] == bench.names()
  assert {"attention_growth", "heads", "score"} <= set(bench.names())
  assert sorted(path.stem for path in folder.iterdir()) == bench.names()
  by_name = {item["name"]: item for item in items}
  assert {row["run"] for row in by_name["heads"]["rows"]} == {"heads.cost", "heads.placement"}
  assert by_name["score"]["rows"][0]["mean"] == 2.0
  assert {"naive", "dot", "dot blockwise", "additive"} <= {row["name"] for row in by_name["attention_growth"]["rows"]}


def test_the_tables_show_every_row(tmp_path, monkeypatch, capsys):
  pretend(monkeypatch)
  for name, expected in (
    ("attention_growth", ("blockwise", "2.00 [1.75, 2.25]", "1.05 s 0.5x", "skipped")),
    ("score", ("ratio",)),
    ("recurrent", ("lstm", "20", "2.000 [")),
  ):
    assert cli.main(["bench", name, f"--workdir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in expected), out


def interrupt():
  raise KeyboardInterrupt


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("stop", "code"), [(interrupt, 130), (terminate, 143)])
def test_what_was_measured_stays_when_the_command_is_stopped(stop, code, tmp_path, monkeypatch, capsys):
  pretend(monkeypatch, stop)
  before = signal.getsignal(signal.SIGTERM)
  try:
    found = cli.main(["bench", "attention_growth", "--lengths=256,512,1024", f"--workdir={tmp_path}"])
  except SystemExit as end:
    found = end.code
  assert found == code
  assert signal.getsignal(signal.SIGTERM) == before
  path = tmp_path / "bench" / "attention_growth.json"
  document = json.loads(path.read_text())
  assert document["complete"] is False
  assert [entry["length"] for entry in document["rows"][0]["lengths"]] == [256, 512]
  said = capsys.readouterr().err
  assert f"measured so far: {path}" in said
  assert "assay: stopped by SIG" in said


MISTAKES = [
  ([], "bench needs a name; allowed: attention_growth, "),
  (["atention_growth"], "did you mean attention_growth"),
  (["timing"], "unknown bench"),
  (["score", "--lengths=64"], "takes no options"),
  (["attention_growth", "--lengths=64,x"], "--lengths=64,x"),
  (["attention_growth", "--lengths=0"], "numbers from 1"),
  (["all", "--lengths="], "--lengths="),
  (["attention_growth", "--processes=0"], "positive integer"),
  (["attention_growth", "--rule=diagonal"], "allowed: causal, everything"),
  (["attention_growth", "--limit=-1"], "--limit"),
  (["attention_growth", "--mechanisms=dott"], "did you mean dot"),
  (["attention_growth", "--mechanisms=dot,additive:gian=2"], "allowed: gain"),
  (["attention_growth", "--mechanisms=additive:gain=x"], "a number"),
  (["attention_growth", "--lenghts=64"], "did you mean --lengths"),
  (["attention_growth", "--config.seed=1"], "leave it out"),
]


@pytest.mark.parametrize(("args", "said"), MISTAKES, ids=[" ".join(args) for args, _ in MISTAKES])
def test_a_mistake_is_one_line(args, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["bench", *args]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert len(err.strip().splitlines()) == 1, err
  assert said in err
  assert not list(tmp_path.iterdir())


def test_mistakes_are_told_before_jax_is_loaded():
  code = f"""
import sys
from experiments.cli import cli
for args in {[args for args, _ in MISTAKES]!r}:
  assert cli.main(["bench", *args]) == 2
assert "jax" not in sys.modules
"""
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
