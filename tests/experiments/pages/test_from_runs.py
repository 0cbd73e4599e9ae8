"""The stored report and its page belong together."""

import pytest

from experiments.pages import from_runs
from experiments.pages.report import Report


@pytest.mark.parametrize("name", ["report.json", "report.html"])
@pytest.mark.parametrize("spoil", [lambda s: "", lambda s: "{", lambda s: s[:-9], lambda s: s.replace("2", "3", 1)])
def test_a_spoiled_report_is_drawn_again(tmp_path, name, spoil, capsys):
  assert from_runs.drawn(tmp_path, "ab") is None
  assert capsys.readouterr().err == ""  # there was none: nothing to tell
  from_runs.write(tmp_path, Report("A title of 22", meta={"command": "assay"}), "ab")
  assert from_runs.drawn(tmp_path, "ab") == tmp_path / "report.html"
  assert from_runs.drawn(tmp_path, "cd") is None
  assert capsys.readouterr().err == ""
  (tmp_path / name).write_text(spoil((tmp_path / name).read_text()))
  assert from_runs.drawn(tmp_path, "ab") is None
  assert "damaged" in capsys.readouterr().err


def test_a_page_drawn_again_is_the_same_page_and_still_the_stored_one(tmp_path):
  from_runs.write(tmp_path, Report("A title", meta={"command": "assay"}), "ab")
  before = (tmp_path / "report.html").read_bytes()
  (tmp_path / "report.html").unlink()
  from_runs.redraw(tmp_path)
  assert (tmp_path / "report.html").read_bytes() == before
  assert from_runs.drawn(tmp_path, "ab")
