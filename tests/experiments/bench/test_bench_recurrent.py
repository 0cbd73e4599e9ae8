"""The bench of recurrent cells: ratios by process, and a process that measures."""

import pytest

from experiments.bench import recurrent, timing


def test_without_a_compiler_the_peer_runs_as_it_is(monkeypatch):
  monkeypatch.setattr(recurrent.shutil, "which", lambda name: None)
  with recurrent._opened() as environment:
    assert environment == {}


def test_cells_are_compared_with_pytorch_where_it_is_installed():
  pairs = [{"ours": 1.0, "pytorch": 2.0}, {"ours": 4.0, "pytorch": 2.0}, {"ours": 3.0, "pytorch": 3.0}]
  row = recurrent._row("lstm", pairs)
  assert (row["seconds"], row["pytorch_seconds"]) == (3.0, 2.0)
  assert row["over_pytorch"] == pytest.approx(1.0)  # the mean of 1/2, 2 and 1 as ratios go
  assert row["ci"][0] < 1.0 < row["ci"][1]
  alone = recurrent._row("lstm", [{"ours": 1.0}])
  assert (alone["seconds"], alone["over_pytorch"]) == (1.0, None)
  assert "-" in str([list(column.cells) for column in recurrent.table({"rows": [alone]}).columns])


@pytest.mark.peer
def test_a_process_times_every_cell_beside_pytorchs(monkeypatch):
  pytest.importorskip("torch")
  monkeypatch.setattr(recurrent, "REPEATS", 1)
  hello, measured = recurrent.one({})
  assert hello["device"]["clock"] in (timing.PROCESS, timing.WALL)
  assert list(measured["seconds"]) == list(recurrent.PEERS)
  assert all(pair["ours"] > 0 and pair["pytorch"] > 0 for pair in measured["seconds"].values())
