"""What the repository promises about itself: metadata agree, pins cover every dependency, nothing is left half done."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = sorted(
  path for name in ("model", "train", "configs", "experiments", "tests") for path in (ROOT / name).rglob("*.py")
)


def normal(name: str) -> str:
  return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
  lines = (ROOT / "constraints.txt").read_text().splitlines()
  return {normal(n): v for n, v in (line.split("==") for line in lines if line and not line.startswith("#"))}


def test_the_promised_files_are_there():
  for name in (
    "README.md",
    "LICENSE",
    "NOTICE",
    "CITATION.cff",
    "CHANGELOG.md",
    "Makefile",
    "constraints.txt",
    "data.txt",
  ):
    assert (ROOT / name).stat().st_size > 0, name
  assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
  assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()


def test_versions_and_licences_agree():
  citation = (ROOT / "CITATION.cff").read_text()
  assert f"version: {PROJECT['version']}\n" in citation
  assert f"license: {PROJECT['license']}\n" in citation
  changes = (ROOT / "CHANGELOG.md").read_text()
  assert "## [Unreleased]" in changes or f"## [{PROJECT['version']}]" in changes


def test_every_dependency_has_one_exact_pin_that_suits_its_range():
  groups = PROJECT["optional-dependencies"]
  installed = ("test", "dev", "peers", "tensorboard", "wandb")
  wanted = [*PROJECT["dependencies"], *(one for name in installed for one in groups[name])]
  for requirement in wanted:
    name, low = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
    pin = pins()[normal(name)]
    assert [int(n) for n in pin.split(".")[:3]] >= [int(n) for n in low.split(".")], requirement


def test_pins_name_versions_and_nothing_else():
  for name, version in pins().items():
    assert re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?", version), f"{name}=={version}"
    assert not name.startswith(("nvidia", "jax-cuda")), name


def test_every_corpus_is_pinned_by_hash_and_named_in_notice():
  text = (ROOT / "data.txt").read_text()
  names = re.findall(r"^([\w-]+)==", text, re.MULTILINE)
  assert names
  assert text.count("--hash=sha256:") >= len(names)
  for name in names:
    assert name in (ROOT / "NOTICE").read_text()


def test_the_command_exists():
  module, function = PROJECT["scripts"]["assay"].split(":")
  assert callable(getattr(importlib.import_module(module), function))


def test_every_folder_of_modules_is_a_package():
  for path in SOURCES:
    assert (path.parent / "__init__.py").exists(), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_half_done_or_unsafe(path):
  """No stubs, no swallowed errors, no pickle."""
  text = path.read_text()
  tree = ast.parse(text)
  for node in ast.walk(tree):
    if isinstance(node, ast.ExceptHandler):
      assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"line {node.lineno} swallows an error"
    if isinstance(node, ast.Raise) and node.exc is not None:
      assert "NotImplemented" not in ast.unparse(node.exc), f"line {node.lineno} is a stub"
    if isinstance(node, (ast.Import, ast.ImportFrom)):
      names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
      assert not {"pickle", "cloudpickle", "dill", "shelve"} & set(names), f"line {node.lineno} imports pickle"


def test_the_makefile_says_one_line_to_an_old_or_absent_python(tmp_path):
  for name in ("Makefile", "constraints.txt", "data.txt", "pyproject.toml"):
    (tmp_path / name).write_bytes((ROOT / name).read_bytes())
  old = tmp_path / "python-old"
  old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
  old.chmod(0o755)
  for python, told in ((str(old), "Python 3.8.1"), (str(tmp_path / "none"), "not found")):
    done = subprocess.run(
      ["make", "install", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "needs Python 3.11 or later" in lines[0]
    assert told in lines[0]
    assert not (tmp_path / ".venv").exists()


def test_make_is_quiet_when_all_is_done(tmp_path):
  """Stamps newer than their sources: no command is left to run for `install`."""
  for name in ("Makefile", "constraints.txt", "data.txt", "pyproject.toml"):
    (tmp_path / name).write_bytes((ROOT / name).read_bytes())
  interpreter = tmp_path / ".venv" / "bin" / "python"
  interpreter.parent.mkdir(parents=True)
  interpreter.write_text("#!/bin/sh\necho 3.11 here\n")
  interpreter.chmod(0o755)
  for stamp in (".made", ".core", ".test", ".dev", ".data"):
    (tmp_path / ".venv" / stamp).touch()
  quiet = subprocess.run(["make", "-n", "-j4", "install"], cwd=tmp_path, capture_output=True, text=True, check=True)
  assert "pip" not in quiet.stdout
  other = subprocess.run(
    ["make", "-n", "install", "PYTHON=python3"], cwd=tmp_path, capture_output=True, text=True, check=True
  )
  assert "-m venv --clear" in other.stdout
  assert other.stdout.count("--constraint") == 1


SKIPPING = """
import pytest

@pytest.mark.peer
def test_peer():
  pytest.importorskip("no_such_peer")

@pytest.mark.peer
@pytest.mark.skip(reason="away")
def test_marked():
  pass

def test_other():
  pytest.skip("allowed")
"""


@pytest.mark.parametrize(("ci", "told"), [("true", {"failed": 1, "error": 1, "skipped": 1}), ("", {"skipped": 3})])
def test_peers_may_be_skipped_at_home_but_not_in_ci(tmp_path, ci, told):
  (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
  (tmp_path / "test_skipping.py").write_text(SKIPPING)
  (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = peer\n")
  call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
  done = subprocess.run(call, cwd=tmp_path, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False)
  counts = {
    word: int(n) for n, word in re.findall(r"(\d+) (failed|error|skipped|passed)", done.stdout.splitlines()[-1])
  }
  assert counts == told, done.stdout
