"""Every command and every file of the guides in docs/ is run, in the order in which they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.process import environment

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.M | re.S)


def steps(text: str):
  """(exit code, argv) of each command, (file name or "", text) of each piece of Python."""
  for language, block in BLOCK.findall(text):
    if language == "python":
      name = re.match(r"# (\S+\.py)\n", block)
      yield "python", name.group(1) if name else "", block
      continue
    for line in block.splitlines():
      command, _, note = line.removeprefix("$ ").partition("   # ")
      assert line.startswith("$ assay "), line
      yield "console", int(note.removeprefix("exit ")) if note.startswith("exit ") else 0, command


def run(folder: Path, argv: list[str]):
  variables = environment(ASSAY_CACHE=str(folder / "cache")) | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
  return subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_does_what_it_says(guide, tmp_path):
  (tmp_path / "bin").mkdir()
  assay = tmp_path / "bin" / "assay"
  assay.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m experiments.cli "$@"\n')
  assay.chmod(0o755)
  done = 0
  for kind, what, text in steps(guide.read_text()):
    done += 1
    if kind == "console":
      ended = run(tmp_path, ["sh", "-c", text])
      assert ended.returncode == what, f"{text}\n{ended.stderr[-2000:]}"
      assert "Traceback" not in ended.stderr
    elif what:
      (tmp_path / what).write_text(text)
    else:
      ended = run(tmp_path, [sys.executable, "-c", text])
      assert ended.returncode == 0, f"{text}\n{ended.stderr[-2000:]}"
  assert done > 2


def test_every_file_a_guide_links_is_there():
  for guide in GUIDES:
    for target in re.findall(r"\]\(([^)#]+)\)", guide.read_text()):
      assert target.startswith("http") or (guide.parent / target).exists(), f"{guide.name}: {target}"
