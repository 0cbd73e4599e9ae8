"""Every notebook runs from its first cell to its last, holds the outputs of such a run, and names no machine."""

import json
import re
from pathlib import Path

import pytest

from tests.experiments import notebook
from tests.experiments.process import ROOT

FOLDER = ROOT / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def codes(path: Path) -> list[dict]:
  return [cell for cell in notebook.read(path)["cells"] if cell["cell_type"] == "code"]


def test_there_is_one():
  assert [path.name for path in NOTEBOOKS] == ["attention.ipynb"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_its_cells_run_in_order(path, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers find the packages from any folder
  monkeypatch.chdir(tmp_path)
  names = {"__name__": "__main__"}
  found = notebook.executed(notebook.read(path), names)
  stored = [cell["outputs"] for cell in codes(path)]
  kinds = lambda outputs: [[sorted(one["data"]) for one in cell] for cell in outputs]  # noqa: E731
  assert kinds(found) == kinds(stored)
  assert names["trained"].complete
  assert names["compared"].complete
  assert not list(tmp_path.iterdir()), "a notebook leaves nothing behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_was_run_and_names_no_folder(path):
  cells = codes(path)
  assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
  assert sum(bool(cell["outputs"]) for cell in cells) >= 4
  texts = [text for cell in cells for out in cell["outputs"] for text in out["data"].get("text/plain", [])]
  assert not re.search(r"(^|[\s'\"(])/\w+/", json.dumps(texts))
  assert path.stat().st_size < 200_000
