"""How many files of ours one has to know to follow a command: those that its own process imports, workers apart."""

import json
import subprocess
import sys

import pytest

from tests.experiments.process import environment
from tests.train.tiny import TINY

CODE = """
import json, sys
from experiments.cli import cli
code = cli.main(sys.argv[1:])
ours = ("model", "train", "configs", "experiments")
files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ours]
print(json.dumps({"code": code, "files": files}))
"""
TRAIN = ["train", "--config=recall", *(f"--config.{key}={value}" for key, value in TINY.items())]


@pytest.mark.parametrize(
  ("command", "most"),
  [(TRAIN, 35), (["reproduce", "HEAD-1", "--dry_run"], 50)],
  ids=["train", "reproduce"],
)
def test_a_command_is_followed_through_few_files(tmp_path, command, most):
  call = [sys.executable, "-c", CODE, *command]
  done = subprocess.run(call, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-1000:]
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["code"] == 0, done.stderr[-1000:]
  files = sorted(found["files"])
  assert 10 < len(files) <= most, files
