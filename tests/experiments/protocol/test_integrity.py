"""No damaged file of a workdir is taken for a whole one: bits, cuts, exchanges, other types, other kinds of file."""

import contextlib
import functools
import json
import os
import random
import shutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.cli import cli
from experiments.ledger import ledger
from experiments.pages import from_runs
from experiments.pages.report import Report
from experiments.protocol import calls, integrity
from experiments.protocol.claim import All, Check
from experiments.record import atomic
from experiments.run import store
from experiments.run.cohorts import trial_key
from experiments.run.store import Store, opened
from model.errors import Refused
from tests.experiments.ledger.test_ledger import row
from tests.experiments.process import ROOT
from tests.train.tiny import tiny

SWEEP = {"command": "sweep", "card": "recall"}
CALLS = {name: Check(name, All(())) for name in ("norm.checks.placement", "norm.checks.absent")}
CHECK = CALLS["norm.checks.absent"]
CONFIGS = [tiny(seed=seed) for seed in range(3)]
KEYS = [trial_key(config, {}) for config in CONFIGS]
KEY_OF_CALL = functools.cache(calls.key)
COHORT = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _one_digest_of_the_code(monkeypatch):
  monkeypatch.setattr(calls, "key", KEY_OF_CALL)


def finish(held, key, config, number):
  rows = [{"step": step, "accuracy": 0.25 + number / 8, "loss": 1.5} for step in (2, 4)]
  measures = {"accuracy": 0.25 + number / 8, "loss": float("inf") if number == 2 else 1.5, "t90": 12}
  held.begin(key, config, [])
  result = {"schema": 1, "status": "done", "cause": None, "steps": 4, "measures": measures, "seconds": 0.5}
  held.finish(key, config, rows, {**result, "data_sha256": {}})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A workdir with one of everything."""
  root = tmp_path_factory.mktemp("whole") / "work"
  with opened(root, SWEEP) as held:
    for number, (key, config) in enumerate(zip(KEYS, CONFIGS, strict=True)):
      finish(held, key, config, number)
    atomic.write_sealed(held.cohort(COHORT) / "members.json", {"schema": 1, "cohort": COHORT, "trials": KEYS})
    for number, (name, check) in enumerate(CALLS.items()):
      path = calls._path(root, check)
      samples = {"difference": [0.5 + number, 2.0]}
      atomic.write_sealed(path, {"schema": 1, "run": name, "call": path.stem, "samples": samples})
    rows = [row(ROOT), row(ROOT, "POS-1")]
    ledger.write(root / "ledger.jsonl", rows)
    from_runs.write(root, Report("A sweep", meta={"command": "assay sweep", "seconds": 2.25}), "mark")
  return root


@pytest.fixture
def work(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / "work")


def everything(root):
  """All that the commands would take from the workdir, None for what they would not."""
  held = Store(root)
  found: dict[str, Any] = {f"result {key}": held.result(key) for key in KEYS}
  for key in KEYS:
    for read in (held.curve, held.config):
      found[f"{read.__name__} {key}"] = None
      with contextlib.suppress(atomic.Damaged, FileNotFoundError):
        found[f"{read.__name__} {key}"] = read(key)
  samples, damaged = calls._whole(root, CALLS)
  found |= {f"call {name}": samples.get(name) for name in CALLS}
  assert len(damaged) + len(samples) <= len(CALLS)
  rows, _ = ledger.salvage(root / "ledger.jsonl")
  found |= {f"row {ident}": next((r for r in rows if r["id"] == ident), None) for ident in ("HEAD-1", "POS-1")}
  found["rows"] = len(rows) if len(rows) > 2 else None
  found["report"] = found["plan"] = None
  with contextlib.suppress(atomic.Damaged, FileNotFoundError):
    found["plan"] = store.plan(root)
  if page := from_runs.drawn(root, "mark"):
    found["report"] = (from_runs.read(root), page.read_bytes())
  return found


def files(root):
  """One file of each kind; the lock is a copy that only stands in for a damaged plan."""
  found = [*root.iterdir(), *root.glob(f"trials/{KEYS[0]}/*"), *root.glob("cohorts/*/*"), calls._path(root, CHECK)]
  return sorted(path for path in found if path.is_file() and path.name != "lock")


def refuted(root, before, path):
  """Asserts that the damage of `path` is found, and that all that is read is as before or nothing."""
  unharmed(root, before)
  found = [finding for finding in integrity.findings(root) if finding.kind in integrity.FAULTS]
  told = path.relative_to(root).as_posix()
  assert any(told.startswith(f.path.partition(":")[0]) or f.path.startswith(told) for f in found), (told, found)
  assert not any("\n" in f.what for f in found)


def unharmed(root, before):
  for name, value in everything(root).items():
    assert value is None or value == before[name], name


def test_a_whole_workdir_is_whole(whole):
  assert integrity.findings(whole) == []
  found = everything(whole)
  found.pop("rows")
  assert all(value is not None for value in found.values())
  assert integrity.count(whole) == {"trials": 3, "calls": 2, "rows": 2}


def test_no_flipped_bit_is_accepted(work, capsys):
  """One thousand, spread evenly over the files."""
  before, chance, paths = everything(work), random.Random(0), files(work)
  for number in range(1000):
    path = paths[number % len(paths)]
    data = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    good = path.read_bytes()
    path.write_bytes(data)
    refuted(work, before, path)
    path.write_bytes(good)
  assert everything(work) == before
  assert "Traceback" not in capsys.readouterr().err


def edit(change):
  """Damages the document inside a file of one JSON line; the seal stays as it is."""

  def damage(path):
    first, *rest = path.read_text().splitlines(keepends=True)
    try:
      value = json.loads(first)
    except ValueError:  # a page
      path.write_text(path.read_text().replace("sweep", "sweet"))
      return
    changed = change(value)
    path.write_text(atomic.canonical(value if changed is None else changed) + "\n" + "".join(rest))

  return damage


def text(change):
  return lambda path: path.write_bytes(change(path.read_bytes()))


def instead(make):
  def damage(path):
    path.unlink()
    make(path)

  return damage


def first_number(value):
  """Changes the last digit of the first number there is."""
  for name, item in sorted(value.items()):
    if isinstance(item, bool | int | float):
      value[name] = item + 1
      return
  value["seed"] = 1


DAMAGES = {
  "empty": text(lambda data: b""),
  "one byte": text(lambda data: data[:1]),
  "first third": text(lambda data: data[: len(data) // 3]),
  "two thirds": text(lambda data: data[: 2 * len(data) // 3]),
  "no last line end": text(lambda data: data[:-1]),
  "second half": text(lambda data: data[len(data) // 2 :]),
  "zeros": text(lambda data: bytes(len(data))),
  "a hole": text(lambda data: data[:9] + bytes(9) + data[18:]),
  "noise": text(lambda data: random.Random(1).randbytes(len(data))),
  "an empty line more": text(lambda data: data + b"\n"),
  "a space more": text(lambda data: data + b" "),
  "a document more": text(lambda data: data + b"{}\n"),
  "twice": text(lambda data: data + data),
  "carriage returns": text(lambda data: data.replace(b"\n", b"\r\n")),
  "a mark of byte order": text(lambda data: b"\xef\xbb\xbf" + data),
  "another encoding": text(lambda data: data.decode().encode("utf-16")),
  "no UTF-8": text(lambda data: data[:-2] + b"\xff" + data[-2:]),
  "not JSON": text(lambda data: b"damaged\n"),
  "null": text(lambda data: b"null\n"),
  "a list": text(lambda data: b"[]\n"),
  "a number": text(lambda data: b"1\n"),
  "a text": text(lambda data: b'"done"\n'),
  "no keys": text(lambda data: b"{}\n"),
  "deep": text(lambda data: b"[" * 100_000 + b"]" * 100_000 + b"\n"),
  "deep objects": text(lambda data: b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n"),
  "a huge number": text(lambda data: b'{"schema":' + b"9" * 5000 + b"}\n"),
  "a NaN word": text(lambda data: data.replace(b":1", b":NaN", 1) if b":1" in data else b'{"schema":NaN}\n'),
  "an infinite number": text(lambda data: data.replace(b":1", b":1e999", 1) if b":1" in data else b'{"a":1e999}\n'),
  "another digit": edit(first_number),
  "another schema": edit(lambda value: value.update(schema=2)),
  "a schema of text": edit(lambda value: value.update(schema="1")),
  "a key more": edit(lambda value: value.update(more=1)),
  "no seal": edit(lambda value: {name: item for name, item in value.items() if name != "sha256"} | {"tampered": 1}),
  "an empty seal": edit(lambda value: value.update(sha256="")),
  "a seal of another type": edit(lambda value: value.update(sha256=[1])),
  "a seal elsewhere": edit(lambda value: {"value": value}),
  "spaces between": text(lambda data: data.replace(b",", b", ", 1) if b"," in data else data + b" "),
  "gone": lambda path: path.unlink(),
  "a folder": instead(lambda path: path.mkdir()),
  "a folder with files": instead(lambda path: (path.mkdir(), (path / "x").write_text("x"))),
  "a link to itself": instead(lambda path: path.symlink_to(path)),
  "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
  "an endless device": instead(lambda path: path.symlink_to("/dev/zero")),
  "a pipe": instead(os.mkfifo),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_no_damaged_file_is_accepted(name, whole, tmp_path):
  """Every damage to every kind of file; what is set aside leaves a workdir without damage."""
  before = everything(whole)
  for number, original in enumerate(files(whole)):
    if name == "gone" and original.parent.name == "calls":
      continue  # a call that is not there has not run
    work = shutil.copytree(whole, tmp_path / str(number))
    path = work / original.relative_to(whole)
    DAMAGES[name](path)
    if name == "gone" and path.name in ("result.json", "ledger.jsonl", "members.json"):
      unharmed(work, before)  # nothing was finished, or there is none
      continue
    refuted(work, before, path)
    with store.held(work) as held:
      integrity.repair(held, integrity.findings(work))
    assert not any(f.kind == "damaged" for f in integrity.findings(work))
    assert (work / "plan.json").exists()


def resealed(**changes):
  """A forger who knows the seal, but not what a result must hold."""

  def damage(root):
    path = root / "trials" / KEYS[0] / "result.json"
    body = {**json.loads(path.read_text()), **changes}
    atomic.write_sealed(path, {name: value for name, value in body.items() if value != "drop"})

  return damage


def exchange(*names):
  def damage(root):
    one, two = (root / name for name in names)
    os.replace(one, root / "between")
    os.replace(two, one)
    os.replace(root / "between", two)

  return damage


def call_names(root):
  return [calls._path(root, check).relative_to(root) for check in CALLS.values()]


EXCHANGES = {
  "two trials": exchange(*(f"trials/{key}" for key in KEYS[:2])),
  "two results": exchange(*(f"trials/{key}/result.json" for key in KEYS[:2])),
  "two curves": exchange(*(f"trials/{key}/metrics.jsonl" for key in KEYS[:2])),
  "two configs": exchange(*(f"trials/{key}/config.json" for key in KEYS[:2])),
  "curve and config": exchange(*(f"trials/{KEYS[0]}/{name}" for name in ("metrics.jsonl", "config.json"))),
  "two calls": lambda root: exchange(*call_names(root))(root),
  "page and data": exchange("report.html", "report.json"),
  "ledger and curve": exchange("ledger.jsonl", f"trials/{KEYS[0]}/metrics.jsonl"),
  "a copy of another trial": lambda root: shutil.copytree(
    root / "trials" / KEYS[1], shutil.rmtree(root / "trials" / KEYS[0]) or root / "trials" / KEYS[0]
  ),
  "another word of status": resealed(status="finished"),
  "a status of another type": resealed(status=["done"]),
  "measures of text": resealed(measures={"accuracy": "0.9"}),
  "measures in a list": resealed(measures=[0.9]),
  "no measures": resealed(measures="drop"),
  "no files": resealed(files="drop"),
  "no cause": resealed(cause="drop"),
  "the next schema": resealed(schema=2),
  "no trial": resealed(trial="drop"),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_nothing_exchanged_is_accepted(name, work, whole):
  before = everything(whole)
  EXCHANGES[name](work)
  unharmed(work, before)
  assert any(finding.kind == "damaged" for finding in integrity.findings(work))
  with store.held(work) as held:
    integrity.repair(held, integrity.findings(work))
  assert not any(finding.kind == "damaged" for finding in integrity.findings(work))


def test_there_are_as_many_damages_as_we_say():
  assert len(DAMAGES) + len(EXCHANGES) >= 60


@given(
  st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=3),
    st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=4),
  )
)
def test_a_sealed_document_comes_back(value):
  body = {name: item for name, item in value.items() if name != atomic.SEAL}
  assert atomic.unsealed(atomic.canonical(atomic.sealed(body))) == json.loads(atomic.canonical(body))
  assert atomic.sealed(atomic.sealed(body)) == atomic.sealed(body)


def test_what_earlier_versions_stored_runs_again_and_is_told_in_one_line(work):
  for key in KEYS:
    path = work / "trials" / key / "result.json"
    body = json.loads(path.read_text())
    body.pop("sha256")
    atomic.write_json(path, body)
  held = Store(work)
  assert [held.result(key) for key in KEYS] == [None] * 3
  told = held.heal()
  assert "stored without checksums" in told
  assert "they will run again" in told
  assert "\n" not in told
  assert sorted(path.name for path in (work / "damaged").iterdir()) == sorted(f"trials-{key}.1" for key in KEYS)
  assert held.heal() == ""


def test_check_tells_repairs_and_keeps_what_was_damaged(work, capsys):
  assert cli.main(["check", str(work), "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["whole"] is True
  curve = work / "trials" / KEYS[0] / "metrics.jsonl"
  spoiled = curve.read_text().replace("0.25", "0.95", 1)
  curve.write_text(spoiled)
  (work / "trials" / KEYS[1] / ".x.part").write_text("half")
  (work / "notes.txt").write_text("mine")
  assert cli.main(["check", str(work), "--json"]) == 4
  out, err = capsys.readouterr()
  document = json.loads(out)
  kinds = {item["path"]: item["kind"] for item in document["found"]}
  assert kinds == {
    f"trials/{KEYS[0]}": "damaged",
    f"trials/{KEYS[1]}/.x.part": "orphaned",
    "notes.txt": "foreign",
  }
  assert document["whole"] is False
  assert len(err.splitlines()) == 3
  assert cli.main(["check", str(work), "--repair"]) == 0
  assert "next command runs what is missing" in capsys.readouterr().out
  assert (work / "damaged" / f"trials-{KEYS[0]}.1" / "metrics.jsonl").read_text() == spoiled
  assert (work / "notes.txt").exists()
  assert cli.main(["check", str(work)]) == 0
  assert Store(work).result(KEYS[0]) is None
  assert Store(work).faults == {}  # it is missing, and so it runs
  assert Store(work).result(KEYS[1])


def test_check_waits_for_nobody_and_knows_its_folders(work, tmp_path, capsys):
  with opened(work, SWEEP):
    assert cli.main(["check", str(work)]) == 2
  assert "in use by a running command" in capsys.readouterr().err
  (tmp_path / "other").mkdir()
  for folder in ("other", "nowhere"):
    assert cli.main(["check", str(tmp_path / folder)]) == 2
    assert "no workdir of ours" in capsys.readouterr().err
  assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_a_lost_plan_is_made_again_and_still_keeps_others_out(spoil, work, capsys):
  spoil(work / "plan.json")
  with pytest.raises(Refused, match=r"belongs to `assay sweep` on card recall; received `assay compare`"):
    opened(work, {"command": "compare", "card": "recall"}).__enter__()
  with opened(work, SWEEP) as held:
    assert held.result(KEYS[0])
  assert store.plan(work) == {"schema": 1, **SWEEP}
  assert not any(finding.kind in integrity.FAULTS for finding in integrity.findings(work))


def test_a_plan_without_its_copy_is_claimed_by_who_comes(work):
  (work / "plan.json").write_text("{")
  (work / "lock").write_text("")
  with opened(work, SWEEP) as held:
    assert held.result(KEYS[0])


def test_a_plan_of_an_earlier_version_is_taken_over(work, capsys):
  atomic.write_json(work / "plan.json", {"schema": 1, **SWEEP, "points": "0123"})
  with pytest.raises(Refused, match=r"on card recall; received card heads"):
    opened(work, {"command": "sweep", "card": "heads"}).__enter__()
  atomic.write_json(work / "plan.json", {"schema": 1, **SWEEP, "points": "0123"})
  with opened(work, SWEEP) as held:
    assert held.result(KEYS[0])
  assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("plan", ["whole", "damaged"])
def test_another_config_is_refused_by_the_keys_that_differ(plan, tmp_path):
  key, config = KEYS[0], CONFIGS[0]
  with opened(tmp_path / "work", {"command": "train", "trial": key}, config) as held:
    finish(held, key, config, 0)
  if plan == "damaged":
    (tmp_path / "work" / "plan.json").write_text("")
    (tmp_path / "work" / "lock").write_text("")
  other = tiny(optim__lr=0.02)
  identity = {"command": "train", "trial": trial_key(other, {})}
  with pytest.raises(Refused) as told:
    opened(tmp_path / "work", identity, other).__enter__()
  assert "belongs to `assay train` with optim.lr=0.01; received optim.lr=0.02;" in str(told.value)
  with opened(tmp_path / "work", {"command": "train", "trial": key}, config) as held:
    assert held.result(key)


@pytest.mark.parametrize("before", ["nothing", "an empty folder", "a folder of somebody"])
def test_a_refused_command_leaves_the_place_as_it_was(before, tmp_path):
  root = tmp_path / "a" / "b"
  if before != "nothing":
    root.mkdir(parents=True)
  if before == "a folder of somebody":
    (root / "notes.txt").write_text("mine")
  there = sorted(tmp_path.rglob("*"))

  def refused():
    with opened(root, SWEEP) as held:
      held.begin(KEYS[0], CONFIGS[0], [])
      raise Refused("by a worker")

  with pytest.raises(Refused):
    refused()
  assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("command", ["report", "eval"])
@pytest.mark.parametrize("name", ["empty", "deep", "a list", "a folder", "another digit", "no UTF-8", "gone"])
def test_commands_that_only_read_say_it_in_one_line(command, name, work, capsys):
  for file in ("report.json", "plan.json"):
    DAMAGES[name](work / file)
  assert cli.main([command, str(work)]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["empty", "deep", "a list", "a folder", "another digit", "no UTF-8"])
@pytest.mark.parametrize("file", ["result.json", "config.json"])
def test_no_model_of_a_damaged_trial_is_evaluated(name, file, tmp_path, capsys):
  work, key = tmp_path / "work", KEYS[0]
  with opened(work, {"command": "train", "trial": key}) as held:
    finish(held, key, CONFIGS[0], 0)
  DAMAGES[name](work / "trials" / key / file)
  code = cli.main(["eval", str(work)])
  out, err = capsys.readouterr()
  assert (code, out) == (2, "")
  assert len(err.strip().splitlines()) == 1
