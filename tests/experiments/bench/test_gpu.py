"""The GPU script: what becomes of parts that fail, what it needs, what it compares, and a rehearsal of all of it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import attention_growth
from experiments.bench.gpu import beside_torch, drive, lengths, marked, members, parts, prepare, tier, torch_gpt
from experiments.bench.gpu.figures import figure, merged
from experiments.bench.gpu.parts import Part
from experiments.pages import device as page
from experiments.protocol.verdict import VERDICTS
from model.errors import Refused
from tests.test_arrows import closure, modules

ROOT = Path(__file__).parents[3]
ABSENT = ("ml_collections", "datasets", "orbax", "matplotlib")
STAND_IN = "tests.experiments.bench.stand_in"


def part(deed, seconds=60.0, processes=1, **environment):
  return Part(deed, STAND_IN, f"does {deed}", seconds, processes, {"STAND_IN": deed, **environment})


@pytest.fixture
def run(tmp_path, monkeypatch):
  """Runs stand-ins for the parts; returns the exit code and the document."""

  def with_parts(*these, arguments=("--tiny",), machine=None):
    monkeypatch.setattr(drive, "MACHINE", machine or part("machine"))
    monkeypatch.setattr(drive, "PARTS", these)
    code = drive.main([str(tmp_path), *arguments])
    path = tmp_path / drive.JSON
    return code, json.loads(path.read_text()) if path.exists() else None

  return with_parts


def test_a_part_that_fails_costs_its_own_figures_alone(run, tmp_path):
  deeds = ("crash", "kill", "refuse", "wrong", "skip", "works")
  code, document = run(*map(part, deeds))
  assert code == 3
  found = {entry["name"]: entry for entry in document["parts"]}
  assert {name: entry["status"] for name, entry in found.items()} == {
    **dict.fromkeys(("crash", "kill", "refuse", "wrong"), "failed"),
    "skip": "skipped",
    "works": "done",
  }
  assert found["crash"]["reason"] == "RuntimeError: a broken part"
  assert "Traceback" in found["crash"]["log"]
  assert "SIGKILL" in found["kill"]["reason"]
  assert found["refuse"]["reason"] == "this cannot be"
  assert found["wrong"]["reason"] == "the numbers differ"
  assert found["skip"]["reason"] == "nothing here to measure"
  assert [one["name"] for one in found["crash"]["figures"]] == ["first"]  # what it had found is kept
  assert [one["median"] for one in found["works"]["figures"]] == [2.0, 2.0]
  assert document["complete"]
  assert (document["schema"], document["rehearsal"]) == (1, True)
  for name in ("gpu.md", "gpu.html"):
    text = (tmp_path / name).read_text()
    assert "a broken part" in text
    assert page.REHEARSAL in text
  assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.html", "gpu.json", "gpu.md"]


def test_a_part_that_hangs_is_ended_with_all_that_it_started(run, tmp_path_factory):
  child = tmp_path_factory.mktemp("child") / "pid"
  code, document = run(
    part("hang", 8.0, STAND_IN_CHILD=str(child)), part("works"), arguments=("--tiny", "--minutes=10")
  )
  hung, works = document["parts"]
  assert (code, hung["status"], works["status"]) == (3, "out of time", "done")
  assert [one["name"] for one in hung["figures"]] == ["first"]
  assert wait_for(lambda: not alive(int(child.read_text())))


def test_a_signal_ends_it_and_what_was_found_is_on_disk(run, tmp_path_factory):
  child = tmp_path_factory.mktemp("child") / "pid"

  def interrupt():
    assert wait_for(child.exists)
    os.kill(os.getpid(), signal.SIGTERM)

  thread = threading.Thread(target=interrupt)
  thread.start()
  code, document = run(part("works"), part("hang", STAND_IN_CHILD=str(child)), part("skip"))
  thread.join()
  assert code == 128 + signal.SIGTERM
  assert [(entry["name"], entry["status"]) for entry in document["parts"]] == [("works", "done"), ("hang", "stopped")]
  assert [one["name"] for one in document["parts"][1]["figures"]] == ["first"]
  assert not document["complete"]
  assert wait_for(lambda: not alive(int(child.read_text())))
  assert "it was stopped before its end" in page.markdown(document)


def alive(pid):
  """Whether a process runs; one that is dead and not yet swept up does not."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  state = Path(f"/proc/{pid}/stat")
  return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(happened):
  return any(happened() or time.sleep(0.1) for _ in range(600))


def test_what_the_deadline_does_not_reach_is_told(tmp_path, monkeypatch):
  late = drive.Run(tmp_path, tmp_path, tiny=True, minutes=1.0)
  monkeypatch.setattr(late, "started", late.started - 58.0)
  entry = late._done(part("works"))
  assert (entry["status"], entry["figures"]) == ("not reached", [])
  assert "deadline" in entry["reason"]


def test_processes_of_one_part_are_joined(run):
  machine = part("machine", STAND_IN_BACKEND="gpu")
  code, document = run(part("works", 300.0, processes=3), arguments=(), machine=machine)
  assert code == 0
  first, second = document["parts"][0]["figures"]
  assert (first["values"], first["n"], first["processes"]) == ([1.0, 3.0] * 3, 6, 3)
  assert (second["values"], second["median"], second["low"], second["high"]) == ([2.0, 3.0, 4.0], 3.0, 2.0, 4.0)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    ((), "only the CPU; allowed there: --tiny"),
    (("--tiny", "--parts=nothing"), "there is no part 'nothing'; allowed: works"),
    (("--tiny", "--minutes=0.1"), "allowed: 0.5 to 600"),
  ],
)
def test_mistakes_are_told_in_one_line(run, capsys, arguments, said):
  code, _ = run(part("works"), arguments=arguments)
  told = capsys.readouterr().err.strip()
  assert code == 2
  assert said in told
  assert "\n" not in told


def test_figures_of_other_devices_or_units_are_not_joined():
  one = {**figure("a", 1.0, "ms"), "device": "cpu"}
  assert len(merged([one, {**one, "device": "gpu"}, {**one, "unit": "s"}])) == 3
  assert merged([one, one])[0]["n"] == 2


# ---------------------------------------------------------------------------------------------------------------------
# What it needs


def test_nothing_at_the_top_of_a_file_needs_what_may_be_missing():
  roots = [name for name in modules() if name.startswith("experiments.bench.gpu")] + ["experiments.pages.device"]
  assert len(roots) > 10
  found = closure(roots)
  assert "jax" in found
  wrong = {
    name: by for name, by in found.items() if name.split(".")[0] in (*ABSENT, "scipy", "torch", "pytest", "jinja2")
  }
  assert not wrong
  assert not any(name.startswith("configs.base") or name == "configs.override" for name in found)


def test_its_parts_are_imported_without_what_may_be_missing(tmp_path):
  absent(tmp_path)
  names = [*(part.module for part in (parts.MACHINE, *parts.PARTS)), "experiments.bench.gpu.drive", drive.RENDER]
  lines = [f"import {name}" for name in (*names, "experiments.worker.serve")]
  lines += ["from experiments.bench.gpu import tier", "assert tier.claims()"]
  done = python("-c", "\n".join(lines), before=tmp_path)
  assert done.returncode == 0, done.stderr[-2000:]
  assert "is hidden" in python("-c", "import ml_collections", before=tmp_path).stderr


def absent(folder):
  """A folder that, first on the path, hides packages from every Python process."""
  (folder / "sitecustomize.py").write_text(
    "import sys\n"
    "class Hidden:\n"
    "  def find_spec(self, name, path=None, target=None):\n"
    f"    if name.split('.')[0] in {ABSENT}:\n"
    "      raise ModuleNotFoundError(f'{name} is hidden', name=name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
  )


def python(*arguments, before="", **variables):
  environment = {**os.environ, "PYTHONPATH": f"{before}{os.pathsep}{ROOT}", **variables}
  return subprocess.run(
    [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
  )


def test_configurations_are_written_whole_and_read_back(tmp_path, capsys):
  assert prepare.main([str(tmp_path)]) == 0
  assert len(list(tmp_path.rglob("*.json"))) == 4
  for tiny in (False, True):
    request = {"inputs": str(tmp_path), "tiny": tiny}
    step, pack = (parts.config(request, name) for name in ("step", "members"))
    torch_gpt.check(step)
    assert step["train"]["batch"] * step["task"]["length"] == (128 if tiny else 32768)
    assert pack["train"]["steps"] % pack["eval"]["every"] == 0
  with pytest.raises(parts.Skipped, match=r"gpu\.prepare FOLDER"):
    parts.config({"inputs": str(tmp_path / "other"), "tiny": True}, "step")
  (tmp_path / "tiny" / "step.json").write_text("{")
  with pytest.raises(Refused, match="holds no configuration"):
    parts.config({"inputs": str(tmp_path), "tiny": True}, "step")
  assert prepare.main([]) == 2
  assert "takes one folder" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# What it compares


def test_a_claim_of_the_tier_is_judged_by_the_protocol():
  claims = {claim.id: claim for claim in tier.claims()}
  assert "RNN-6a" in claims
  name = "four layers of width 512"
  spread = np.linspace(-0.1, 0.1, 12)
  assert tier.judge(claims["RNN-6a"], {name: list(2.0 + spread)})["verdict"] == "reproduced"
  assert tier.judge(claims["RNN-6a"], {name: list(0.5 + spread)})["verdict"] == "refuted"
  said = tier._said(claims["RNN-6a"], {name: list(2.0 + spread)}, rehearsed=True)
  assert (said["verdict"], said["rehearsed"]) == (None, "reproduced")


def test_a_member_that_is_another_one_is_told():
  losses = np.array([2.0, 1.0, 0.5])
  assert members._difference(losses, losses) == 0.0
  assert members._difference(losses, losses * [1, 1, 1.01]) == pytest.approx(0.01)
  assert members._difference(losses, np.array([2.0, 1.0, np.nan])) == np.inf
  assert members._difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0.0


def test_pytorch_must_do_the_same_work():
  precision, config = beside_torch.ON_CPU["float32"], {"eval": {"every": 2}}
  first = {"ours": np.array([2.0, 1.0]), "PyTorch, eager": np.array([2.0, 1.0001])}
  assert not beside_torch._sameness("float32", precision, first, config)["problems"]
  first["PyTorch, eager"] = np.array([2.0, 1.1])
  assert "PyTorch, eager" in beside_torch._sameness("float32", precision, first, config)["problems"][0]


def test_the_ratio_is_of_the_best_of_both_sides():
  config = {"eval": {"every": 10}, "train": {"batch": 2}, "task": {"length": 8}}
  one = {"ours, a": 0.4, "ours, b": 0.2, "PyTorch, eager": 0.5, "PyTorch, compiled": 0.1}
  found = {each["name"]: each for each in beside_torch._times("float32", config, [one] * 3)}
  ratio = found["float32: time of ours, b over PyTorch, compiled"]
  assert (ratio["median"], ratio["n"]) == (pytest.approx(2.0), 3)
  assert found["float32: step, ours, b"]["median"] == pytest.approx(20.0)
  assert found["float32: throughput, ours, b"]["median"] == pytest.approx(16 * 10 / 0.2 / 1e6)
  alone = beside_torch._times("float32", config, [{"ours, a": 0.4}])
  assert not any("over" in each["name"] for each in alone)


@pytest.mark.peer
def test_pytorchs_model_is_ours():
  torch = pytest.importorskip("torch")
  config = prepare.resolved(Path("in"))[Path("in/tiny/step.json")]
  task = beside_torch.Fixed(beside_torch.build.make("tasks", dict(config["task"]), package="train"))
  params = beside_torch.drawn(config, task)
  whole = beside_torch.step.Ensemble(config, task)
  batch = task.drawn(3)
  ours = whole.model(whole.init([config]), whole.members([config]), 0)(batch.inputs)[0][:, :, 0]
  tokens = torch.from_numpy(np.array(batch.inputs.tokens_BTC[..., 0], np.int64))
  theirs = torch_gpt.build(config, params, "cpu")(tokens).detach().numpy()
  np.testing.assert_allclose(theirs, np.asarray(ours), atol=2e-5)
  with pytest.raises(Refused, match="no place for more"):
    torch_gpt.build(config, params | {"more": np.zeros(1)}, "cpu")
  config["model"]["tie"] = "qk"
  with pytest.raises(Refused, match="knows only tie='none', not 'qk'"):
    torch_gpt.check(config)


def test_growth_is_told_between_lengths_and_what_is_left_out_too():
  done = {"status": "done", "reason": "", "compile_seconds": 1.0}
  cells = {
    length: {
      subject.name: {**done, "seconds": [1e-3 * length**2], "memory_bytes": 2**20 * length}
      for subject in lengths.SUBJECTS
    }
    for length in (8, 16)
  }
  cells[16]["naive"] = {"status": "skipped", "reason": "needs more", "seconds": []}
  found = {one["name"]: one for one in lengths._figures(cells, "note")}
  assert found["exponent of time, dot, 8 to 16 tokens"]["median"] == pytest.approx(2.0)
  assert found["exponent of memory, dot, 8 to 16 tokens"]["median"] == pytest.approx(1.0)
  assert found["time of dot, 16 tokens"]["median"] == pytest.approx(256.0)
  assert "time of naive, 16 tokens" not in found
  assert lengths._left_out(cells) == ["naive, 16 tokens: skipped: needs more"]
  request = {"tiny": True, "process": 0, "processes": 1, "memory_bytes": None}
  assert set(lengths.asked(request)) == {*attention_growth.Plan._fields, "process"}


@pytest.mark.parametrize(
  ("line", "word"),
  [
    ("tests/a/test_b.py::test_c[d e] PASSED                    [ 50%]", "passed"),
    ("tests/a/test_b.py::test_c FAILED [100%]", "failed"),
    ("[gw1] [ 50%] PASSED tests/a/test_b.py::test_c[d e] ", "passed"),
    ("[gw0] [100%] SKIPPED tests/a/test_b.py::test_c ", "skipped"),
    ("FAILED tests/a/test_b.py::test_c - AssertionError: PASSED", ""),
    ("tests/a/test_b.py::test_c ", ""),
  ],
)
def test_outcomes_are_read_line_by_line(line, word):
  assert marked.outcome(line) == word


def test_a_run_without_a_passed_test_is_a_problem():
  assert marked.problems(0, Counter(passed=2), ["2 passed"]) == []
  assert marked.problems(0, Counter(skipped=2), ["2 skipped"]) == ["no test ran"]
  assert marked.problems(1, Counter(passed=1, failed=1), ["FAILED tests/a.py::b - x"]) == ["FAILED tests/a.py::b - x"]
  assert "code 4: no such file" in marked.problems(4, Counter(), ["ERROR: usage", "no such file", ""])[0]


def test_tests_marked_gpu_are_found_and_need_no_card():
  found = marked.files(ROOT / "tests")
  names = {str(path.relative_to(ROOT)) for path in found}
  assert {f"tests/{name}/test_device.py" for name in ("model", "model/attention", "train")} <= names
  assert all(name.startswith(("tests.model", "tests.train", "tests.device")) for name in ours(found)), ours(found)


def ours(files):
  """What these files import of tests/ and configs/: all of it must be there without ml_collections."""
  words = re.findall(
    r"^(?:from|import) ((?:tests|configs)\S*)(?: import (\w+))?", "\n".join(map(Path.read_text, files)), re.M
  )
  return {f"{module}.{name}".rstrip(".") for module, name in words}


# ---------------------------------------------------------------------------------------------------------------------
# The whole of it


def test_the_page_tells_what_was_not_measured(run, tmp_path):
  _, document = run(part("works"))
  document["rehearsal"] = False
  document["parts"][0]["figures"][0]["name"] = "a|b <c>"
  document["parts"].append(
    {**document["parts"][0], "name": "step", "figures": [], "status": "not reached", "details": {}}
  )
  text, markup = page.markdown(document), page.html(document)
  assert "a\\|b <c>" in text
  assert "a|b &lt;c&gt;" in markup
  assert "2.00 [1.00, 3.00]" in text
  assert page.REHEARSAL not in text
  assert "not reached" in markup
  assert "http" not in markup
  assert page.main([str(tmp_path / "none.json")]) == 2


@pytest.mark.slow
def test_the_whole_is_rehearsed_without_what_may_be_missing(tmp_path):
  assert prepare.main([str(tmp_path / "inputs")]) == 0
  hidden = tmp_path / "hidden"
  hidden.mkdir()
  absent(hidden)
  out = tmp_path / "out"
  given = (f"--inputs={tmp_path / 'inputs'}", "--tiny", "--minutes=300")  # however busy the machine is
  done = python("-m", "experiments.bench.gpu", str(out), *given, before=hidden)
  assert done.returncode == 0, done.stderr[-3000:]
  document = json.loads((out / drive.JSON).read_text())
  assert {entry["name"]: entry["status"] for entry in document["parts"]} == dict.fromkeys(
    (one.name for one in parts.PARTS), "done"
  ), done.stderr[-3000:]
  figures = [one for entry in document["parts"] for one in entry["figures"]]
  assert len(figures) > 30
  assert {one["device"] for one in figures} == {"cpu"} == {document["machine"]["backend"]}
  counts = {one["name"]: one["median"] for one in document["parts"][0]["figures"]}
  assert counts["tests passed"] > 20
  assert counts["tests failed"] == counts["tests skipped"] == 0
  claims = next(entry for entry in document["parts"] if entry["name"] == "claims")
  assert claims["details"]["RNN-6a"]["verdict"] is None
  assert claims["details"]["RNN-6a"]["rehearsed"] in VERDICTS
  ratios = [one for one in figures if one["unit"] == "times" and "PyTorch" in one["name"]]
  assert len(ratios) == 2
  assert sorted(path.name for path in out.iterdir()) == ["gpu.html", "gpu.json", "gpu.md"]
