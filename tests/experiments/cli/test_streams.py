"""With --json stdout holds one document, whatever prints; a user's class that ends the program ends no worker."""

import json

import pytest

from experiments.cli import cli
from experiments.protocol import catalog
from experiments.run import messages
from experiments.worker import serve as work
from model import build
from model.errors import Refused
from tests.experiments.process import SWEEP, assay
from tests.train.tiny import TINY

LOUD = """
import os
from model.attention.dot import Dot

print("at import")
os.write(1, b"past python")


class Loud(Dot):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float | None = None):
    print("when built")
    super().__init__(heads, head_dim, layer=layer, scale=scale)
"""
CLAIM = """
print("from a claim's file")
from experiments.protocol.claim import Claim
CLAIMS = (Claim(id="LOUD-1", document="extension", place="extension", statement="It prints.", evidence="trial",
  measure="auc"),)
"""
QUIET = [
  *(["list", what] for what in ("claims", "mechanisms", "positions", "tasks", "configs")),
  ["explain", "HEAD-1"],
  ["explain", "./loud_claim.py"],
  ["doctor"],
  ["ledger", "check"],
  ["new", "claim", "fresh"],
  ["reproduce", "HEAD-1", "MECH-1", "--dry_run"],
  ["reproduce", "./loud_claim.py", "--dry_run"],
  ["sweep", *SWEEP, "--dry_run"],
  ["sweep", *SWEEP[:-1], "model.attention.kind=./loud.py:Loud", "--dry_run"],
]


@pytest.mark.parametrize("args", QUIET, ids=" ".join)
def test_stdout_is_one_document(args, tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(tmp_path)
  for name in ("_own", "_files"):
    monkeypatch.setattr(catalog, name, {})
  (tmp_path / "loud.py").write_text(LOUD)
  (tmp_path / "loud_claim.py").write_text(CLAIM)
  code = cli.main([*args, "--json"])
  out, err = capfd.readouterr()
  assert code in (0, 4), err
  assert json.loads(out)["schema"] == 1
  assert out.count("\n") == 1
  if "loud" in " ".join(args):
    assert "at import" in err or "from a claim's file" in err


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("import sys\nsys.exit(0)", "mine.py:2: SystemExit"),
    ("1 / 0", "mine.py:1: ZeroDivisionError"),
    ("x = (", "mine.py:1: SyntaxError"),
    ("import time\ntime.sleep(60)", "took longer than 0.2 s"),
  ],
)
def test_a_users_class_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, text, said):
  monkeypatch.setattr(build, "IMPORT_SECONDS", 0.2)
  path = tmp_path / "mine.py"
  path.write_text(text)
  with pytest.raises(Refused, match=said) as refused:
    build.resolve("attention", f"{path}:Mine")
  assert "\n" not in str(refused.value)


def test_a_call_that_ends_the_program_is_told_and_the_worker_goes_on(tmp_path, monkeypatch):
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / "outer").mkdir()
  (tmp_path / "outer" / "ends.py").write_text("def run():\n  raise SystemExit(3)\n\ndef fine():\n  return {'x': [1]}\n")
  told = []
  for name in ("ends.run", "ends.fine"):
    request = messages.Call("outer", name)
    work.one(tmp_path, request, {}, keep=False, stop=lambda: False, tell=told.append)
  assert isinstance(told[0], messages.CallFailed)
  assert told[0].name == "ends.run"
  assert told[0].cause.startswith("SystemExit: 3")
  assert told[1] == messages.Called("ends.fine", {"x": [1.0]})


def test_a_class_that_ends_the_program_when_built_is_one_line(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(LOUD.replace("super()", "raise SystemExit(0)\n    super()"))
  flags = [f"--config.{key}={value}" for key, value in TINY.items()]
  done = assay(
    "train", "--config=recall", *flags, f"--config.model.attention.kind={path}:Loud", f"--workdir={tmp_path / 'work'}"
  )
  assert done.returncode == 2, done.stderr
  assert "ends the program (sys.exit 0)" in done.stderr
  assert len(done.stderr.splitlines()) == 1
