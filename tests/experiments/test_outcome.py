"""Where the report puts an arm, by its name."""

import pytest

from experiments import outcome


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


@pytest.mark.parametrize("spoiled", ["", "{", "[]", "\0"])
def test_a_spoiled_report_is_drawn_again(tmp_path, spoiled):
  (tmp_path / "report.html").write_text("<html>")
  (tmp_path / "report.json").write_text('{"fingerprint": "ab"}')
  assert outcome.drawn(tmp_path, "ab") == tmp_path / "report.html"
  assert outcome.drawn(tmp_path, "cd") is None
  (tmp_path / "report.json").write_text(spoiled)
  assert outcome.drawn(tmp_path, "ab") is None
