"""Rows keep their bytes, merging loses nothing, and the check finds each kind of difference."""

import dataclasses
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.ledger import ledger
from experiments.protocol.claim import Claim, Study, Trial, greater
from experiments.protocol.verdict import verdict
from experiments.record import atomic

TEST = greater("a", "b", 0.1)
CLAIM = Claim(
  id="HEAD-1",
  document="D3",
  place="D3-1",
  statement="More heads help.",
  measure="accuracy",
  experiment=Trial(Study("s", "c", {}, "a", {}), TEST),
)
CODE = "model/attention/dot.py"


@pytest.fixture
def base(tmp_path):
  (tmp_path / CODE).parent.mkdir(parents=True)
  (tmp_path / CODE).write_text("x = 1  # one\n")
  return tmp_path


def row(base, id="HEAD-1", tier="small", device="cpu", **options):
  claim = dataclasses.replace(CLAIM, id=id)
  samples = {"a": [0.9 + i / 100 for i in range(12)], "b": [0.5] * 12}
  found = verdict(claim, samples, 0.0036)
  options.setdefault("code_sha256", ledger.digest.code_sha256([CODE], base))
  arms = [ledger.arm(name, values, lr=0.01) for name, values in samples.items()]
  seeds = {"tuning": [0, 1, 2], "reporting": [100, 111]}
  return ledger.row(claim, tier, device, found, arms=arms, seeds=seeds, code_files=[CODE], **options)


def test_a_row_has_the_keys_of_its_schema(base):
  entry = row(base, run={"seconds": 1.5})
  expected = """schema id tier device nature verdict condition reason arms tests seeds configs_tried config_sha256
  code_sha256 code_files data_sha256 trials stale look versions run"""
  assert set(entry) == set(expected.split())
  assert set(entry["arms"][0]) == {"name", "lr", "lr_on_edge", "n", "mean", "ci", "diverged", "stalled"}
  contract = {"name", "rule", "n", "effect", "ci", "ci_level", "p", "alpha", "minimum_effect", "passed"}
  assert contract <= set(entry["tests"][0])
  assert (entry["schema"], entry["verdict"]) == (1, "reproduced")
  with pytest.raises(ValueError, match="none of"):
    ledger.row(CLAIM, "small", "cpu", {"verdict": "true", "condition": None, "reason": "", "tests": []})


def test_arms_with_lost_runs_say_so():
  assert math.isnan(ledger.arm("a", [1.0, math.nan], diverged=1)["mean"])
  assert ledger.arm("a", [1.0] * 11 + [math.inf])["mean"] == math.inf
  assert ledger.arm("a", [0.5] * 12)["ci"] == [0.5, 0.5]
  assert math.isnan(ledger.arm("a", [])["mean"])


@given(
  st.recursive(
    st.floats() | st.integers() | st.booleans() | st.none(),
    lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from("xyz"), s),
    max_leaves=8,
  )
)
def test_what_is_written_is_strict_json_and_comes_back(value):
  text = atomic.canonical(ledger.rounded(value))
  assert atomic.canonical(ledger.rounded(ledger.numbers(json.loads(text)))) == text


def test_numpy_numbers_are_numbers():
  found = ledger.rounded({"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True), "d": (np.inf, 1 / 3)})
  assert found == {"a": 0.1000000015, "b": 3, "c": True, "d": [math.inf, 0.3333333333]}


def test_the_file_is_sorted_and_its_bytes_do_not_depend_on_the_order(base, tmp_path):
  rows = [row(base, "POS-1"), row(base, tier="quick"), row(base), row(base, device="gpu")]
  one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
  ledger.write(one, rows)
  ledger.write(two, rows[::-1])
  assert one.read_bytes() == two.read_bytes()
  assert [ledger.key(r) for r in ledger.read(one)] == sorted(ledger.key(r) for r in rows)
  ledger.write(two, ledger.read(one))
  assert one.read_bytes() == two.read_bytes()
  with pytest.raises(ValueError, match="share one"):
    ledger.write(one, [row(base), row(base)])


def test_a_failed_write_leaves_the_old_file_and_no_rest(base, tmp_path):
  path = tmp_path / "out" / "ledger.jsonl"
  ledger.write(path, [row(base)])
  before = path.read_bytes()
  with pytest.raises(TypeError):
    ledger.write(path, [{**row(base), "run": {"date": object()}}])
  assert path.read_bytes() == before
  assert [file.name for file in path.parent.iterdir()] == ["ledger.jsonl"]


def test_a_broken_line_is_named(tmp_path):
  path = tmp_path / "ledger.jsonl"
  assert ledger.read(path) == []
  for text in ('{"schema":1,', "[]", '{"schema":1,"id":"A-1"}', '{"schema":2,"id":"A-1","tier":"x","device":"cpu"}'):
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=r"ledger.jsonl:1"):
      ledger.read(path)


def test_merging_replaces_by_key_and_counts_configs(base, tmp_path):
  path, workdir = tmp_path / "committed.jsonl", tmp_path / "work"
  ledger.write(path, [row(base, config_sha256="one"), row(base, "POS-1")])
  ledger.write(workdir / "ledger.jsonl", [row(base, config_sha256="two"), row(base, tier="quick")])
  merged = ledger.merge(workdir, path)
  assert [ledger.key(r)[:2] for r in merged] == [("HEAD-1", "quick"), ("HEAD-1", "small"), ("POS-1", "small")]
  assert (merged[1]["config_sha256"], merged[1]["configs_tried"]) == ("two", 2)
  assert ledger.merge(workdir, path) == merged
  assert ledger.read(path) == merged


def test_an_untested_row_never_displaces_a_verdict(base):
  held = row(base)
  untested = {**held, "verdict": "untested"}
  assert ledger.combine([held], [untested])[0]["verdict"] == "reproduced"
  assert ledger.combine([untested], [held])[0]["verdict"] == "reproduced"
  elsewhere, other = {**untested, "tier": "none"}, {**untested, "id": "POS-1", "tier": "none"}
  assert ledger.combine([elsewhere, other], [held]) == [held, other]


def rendered(rows):
  return f"{len(rows)} rows\n"


@pytest.fixture
def consistent(base):
  path = base / "ledger.jsonl"
  ledger.write(path, [row(base)])
  (base / "LEDGER.md").write_text("1 rows\n")
  (base / "README.md").write_text(ledger.with_excerpt(f"# Us\n{ledger.MARKS[0]}{ledger.MARKS[1]}\nEnd.\n", "1 rows"))
  pages = {"page": (base / "LEDGER.md", rendered), "readme": (base / "README.md", rendered)}
  return lambda ids=("HEAD-1",): ledger.check(ids, path=path, **pages)


@pytest.fixture
def stale(base):
  """Why the one row of the ledger is stale."""
  return lambda now=lambda row: None: list(ledger.stale(ledger.read(base / "ledger.jsonl"), now, base).values())


def test_a_consistent_ledger_has_no_differences(consistent, stale, base):
  assert consistent() == stale() == []
  (base / CODE).write_text('"""Only words."""\nx = 1\n')
  assert consistent() == stale() == []


def test_each_difference_is_found(consistent, stale, base):
  assert consistent(("HEAD-1", "HEAD-2")) == ["HEAD-2: no row in ledger.jsonl"]
  assert any("no such claim" in line for line in consistent(()))
  (base / CODE).write_text("x = 2\n")
  assert stale() == ["its code has changed"]
  (base / CODE).unlink()
  assert "its code is gone" in stale()[0]


def test_a_row_is_stale_when_its_digest_leaves_out_what_its_trials_use(consistent, stale):
  now = SimpleNamespace(files=(CODE,), trials=(), config_sha256="")
  assert stale(lambda row: now) == []
  for change, told in (
    ({"files": (CODE, "model/recurrent.py")}, "its digest leaves out model/recurrent.py"),
    ({"files": ()}, f"it no longer uses {CODE}"),
    ({"trials": ("ab",)}, "the configs or the data of its trials have changed"),
    ({"config_sha256": "ab"}, "its claim has changed"),
  ):
    assert stale(lambda row, change=change: SimpleNamespace(**{**vars(now), **change})) == [told]

  def lost(row):
    raise KeyError("tier small")

  assert stale(lost) == ["its claim has changed: no tier small any more"]


def test_pages_out_of_date_are_found(consistent, base):
  (base / "LEDGER.md").write_text("0 rows\n")
  (base / "README.md").write_text("# Us\n")
  assert [line.split()[0] for line in consistent()] == ["LEDGER.md", "README.md:"]
  with pytest.raises(ValueError, match="no place"):
    ledger.with_excerpt("# Us\n", "1 rows")


def test_stale_trials_and_hand_edits_are_found(consistent, stale, base):
  path = base / "ledger.jsonl"
  ledger.write(path, [row(base, stale=True)])
  assert stale() == ["built from stale trials"]
  for was, becomes in (('"stale":true', '"stale":false'), ('"stale":true', '"stale": true'), ('"sha256"', '"sha257"')):
    ledger.write(path, [row(base, stale=True), row(base, tier="quick")])
    path.write_text(path.read_text().replace(was, becomes, 1))
    (told,) = consistent()
    assert "is damaged" in told


def test_the_command_line_does_not_wait_for_scipy_or_jax():
  ours = "experiments.ledger.ledger, experiments.protocol.verdict"
  code = f"import sys, {ours}; print({{'scipy', 'jax', 'numpy'}} & set(sys.modules))"
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "set()"
