"""What is remembered of source files, and that a bad memory changes nothing."""

import json

import pytest

from experiments.record import digest

TEXT = 'from . import near\nimport os.path\nKIND = "dot"\n'


@pytest.fixture
def fresh(tmp_path, monkeypatch):
  """An empty memory on disk, as a new process finds it."""
  monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
  monkeypatch.setattr(digest.atexit, "register", lambda function: function)

  def again():
    digest._kept.cache_clear()
    digest._read.cache_clear()
    return digest._kept()

  yield again
  monkeypatch.undo()
  again()


def test_a_file_is_parsed_once_and_then_remembered_by_content(tmp_path, fresh, monkeypatch):
  (tmp_path / "a.py").write_text(TEXT)
  kept = fresh()
  found = digest.read(tmp_path, "a.py")
  assert "os.path" in found.imports
  assert found.words == {"dot"}
  kept.save()
  fresh()
  monkeypatch.setattr(digest, "parse", lambda content, path: pytest.fail("parsed again"))
  assert digest.read(tmp_path, "a.py") == found
  monkeypatch.undo()


def test_another_content_or_path_is_read_anew(tmp_path, fresh):
  (tmp_path / "a.py").write_text(TEXT)
  (tmp_path / "b.py").write_text(TEXT)
  kept = fresh()
  first = digest.read(tmp_path, "a.py")
  (tmp_path / "a.py").write_text(TEXT + "X = 1\n")
  assert digest.read(tmp_path, "a.py").text != first.text
  assert digest.read(tmp_path, "b.py").text == first.text
  assert len(kept.used) == 3


@pytest.mark.parametrize("spoiled", ["", "[]", '{"half', "\0"])
def test_a_spoiled_memory_is_ignored_and_replaced(tmp_path, fresh, spoiled):
  (tmp_path / "a.py").write_text(TEXT)
  (tmp_path / "cache").mkdir()
  memory = tmp_path / "cache" / "sources.json"
  memory.write_text(spoiled)
  kept = fresh()
  assert digest.read(tmp_path, "a.py") == digest.parse(TEXT.encode(), "a.py")
  kept.save()
  assert len(json.loads(memory.read_text())) == 1


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path, fresh):
  (tmp_path / "a.py").write_text(TEXT)
  (tmp_path / "cache").write_text("a file where the folder should be")
  kept = fresh()
  assert digest.read(tmp_path, "a.py").words == {"dot"}
  kept.save()
