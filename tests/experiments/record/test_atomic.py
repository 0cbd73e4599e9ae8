import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.record import atomic
from model.errors import Refused

VALUES = st.recursive(
  st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(st.characters(codec="utf-8")),
  lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
  max_leaves=12,
)


def spelled(value):
  """What a strict reader must see."""
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  if isinstance(value, dict):
    return {key: spelled(item) for key, item in value.items()}
  return [spelled(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_canonical_json_is_strict_and_holds_the_value(value):
  def forbidden(name):
    raise AssertionError(name)

  assert json.loads(atomic.canonical(value), parse_constant=forbidden) == spelled(value)


@given(st.dictionaries(st.text(), st.integers(), max_size=8))
def test_the_order_of_keys_does_not_matter(value):
  assert atomic.canonical(value) == atomic.canonical(dict(reversed(value.items())))


def test_numpy_values_are_written_as_numbers():
  value = {"a": np.float32(0.5), "b": np.arange(3), "c": np.array([np.nan, -np.inf]), "d": (np.int64(2),), "e": True}
  assert atomic.canonical(value) == '{"a":0.5,"b":[0,1,2],"c":["nan","-inf"],"d":[2],"e":true}'


def test_writing_replaces_and_leaves_nothing_else(tmp_path):
  path = tmp_path / "new" / "a.json"
  for value in ({"ö": 1}, {"ö": 2}):
    atomic.write_json(path, value)
  assert path.read_bytes() == '{"ö":2}\n'.encode()
  assert os.listdir(path.parent) == ["a.json"]
  assert path.stat().st_mode & 0o777 == 0o666 & ~atomic._umask()


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.json"
  atomic.write_json(path, 1)
  with pytest.raises(TypeError):
    atomic.write_json(path, {1, 2})
  assert path.read_text() == "1\n"


def test_a_full_disk_is_refused_in_one_line_and_the_old_file_stands(tmp_path, monkeypatch):
  path = tmp_path / "a.txt"
  atomic.write_text(path, "old")

  def full(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(Refused, match="No space left on device; make room") as told:
    atomic.write_text(path, "new")
  assert "\n" not in str(told.value)
  assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_a_folder_that_is_a_file_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(Refused, match="cannot be written"):
    atomic.write_text(tmp_path / "file" / "a.txt", "x")


def test_a_reader_never_sees_a_part_though_the_writer_is_killed(tmp_path):
  path = tmp_path / "a.json"
  atomic.write_json(path, [0] * 50_000)
  endless = "for i in range(10**9): atomic.write_json(sys.argv[1], [i] * 50_000)"
  code = f"import sys; from experiments.record import atomic\n{endless}"
  for wait in (0.2, 0.35, 0.5):
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    stop = time.monotonic() + wait
    while time.monotonic() < stop:
      assert len(set(json.loads(path.read_text()))) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(set(json.loads(path.read_text()))) == 1
