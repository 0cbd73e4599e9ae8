"""Where the report puts an arm, by its name."""

import pytest

from experiments.pages import outcome
from experiments.pages.report import Report


@pytest.mark.parametrize(
  ("axis", "names", "places"),
  [
    ("heads", ["heads=1", "heads=8"], [("", 1.0), ("", 8.0)]),
    ("heads", ["relations=4 heads=1", "relations=1 heads=4"], [("relations=4", 1.0), ("relations=1", 4.0)]),
    ("d_k", ["scaled d_k=16", "additive d_k=64"], [("scaled", 16.0), ("additive", 64.0)]),
    ("key width", ["scaled 8, torch", "unscaled 128"], [("scaled, torch", 8.0), ("unscaled", 128.0)]),
    ("optim.lr", ["lr=1e-3", "lr=1e-2"], [("lr=1e-3", None), ("lr=1e-2", None)]),
    ("first weights", ["scaled 128", "unscaled 128"], [("scaled 128", None), ("unscaled 128", None)]),
    ("arm", ["attention=dot", "attention=additive"], [("attention=dot", None), ("attention=additive", None)]),
    ("heads", ["heads=8", "heads=32", "heads=32 head_dim=8"], [("", 8.0), ("", 32.0), ("head_dim=8", 32.0)]),
    ("complexity", ["relations=4 heads=1", "hops=2 heads=1"], [("heads=1", 4.0), ("heads=1", 2.0)]),
    ("", ["a 2", "b"], [("a 2", None), ("b", None)]),
  ],
)
def test_an_arm_stands_at_the_number_of_its_axis(axis, names, places):
  assert list(outcome.placed(names, axis).values()) == places


@pytest.mark.parametrize("name", ["report.json", "report.html"])
@pytest.mark.parametrize("spoil", [lambda s: "", lambda s: "{", lambda s: s[:-9], lambda s: s.replace("2", "3", 1)])
def test_a_spoiled_report_is_drawn_again(tmp_path, name, spoil, capsys):
  assert outcome.drawn(tmp_path, "ab") is None
  assert capsys.readouterr().err == ""  # there was none: nothing to tell
  outcome.write(tmp_path, Report("A title of 22", meta={"command": "assay"}), "ab")
  assert outcome.drawn(tmp_path, "ab") == tmp_path / "report.html"
  assert outcome.drawn(tmp_path, "cd") is None
  assert capsys.readouterr().err == ""
  (tmp_path / name).write_text(spoil((tmp_path / name).read_text()))
  assert outcome.drawn(tmp_path, "ab") is None
  assert "damaged" in capsys.readouterr().err


def test_a_page_drawn_again_is_the_same_page_and_still_the_stored_one(tmp_path):
  outcome.write(tmp_path, Report("A title", meta={"command": "assay"}), "ab")
  before = (tmp_path / "report.html").read_bytes()
  (tmp_path / "report.html").unlink()
  outcome.redraw(tmp_path)
  assert (tmp_path / "report.html").read_bytes() == before
  assert outcome.drawn(tmp_path, "ab")
