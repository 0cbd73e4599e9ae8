"""The inventory: complete, well-formed, in our own words, without a word about the outcome."""

import ast
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.protocol import catalog
from experiments.protocol import claim as data
from model.errors import Refused

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "experiments/claims"
MACHINERY = ("grid", "known_arms")  # no claims stand there
FILES = sorted(path for path in FOLDER.rglob("*.py") if path.stem not in MACHINERY)
CLAIMS = catalog.all_claims()
IDS = [claim.id for claim in CLAIMS]

# Rows of the inventory per group; a row with parts has a letter behind its number.
COUNTS = (
  "MECH 21 POS 10 RES 4 NORM 5 FFN 4 COMP 1 HEAD 17 SCALE 8 ADD 9 QK 5 RNN 10 CTX 7 OPT 11 DROP 4 PRE 5 TL 6 GB 7"
)
ROWS = {group: int(count) for group, count in re.findall(r"([A-Z]+) (\d+)", COUNTS)}
OWN = ("RNN-11", "CTX-8")  # trends of papers, asked by us
MORE = ("SCALE-1b", "G2P-HEAD", "G2P-ADD", "G2P-RNN")
SPLIT = "MECH-11 MECH-17 POS-5 FFN-4 HEAD-7 HEAD-16 RNN-2 RNN-6 CTX-6 OPT-4 DROP-2 PRE-4"
PARTS = [row + part for row in re.findall(r"\S+", SPLIT) for part in "ab"] + ["RNN-7a"]  # RNN-7b is RNN-9
OUTCOMES = (
  r"reproduc|refut|\bconditional|inconclusive|untested|\bholds\b|\bexpect|verdict|\bconfirm|\bdisprov|\bsupported"
)


@pytest.mark.parametrize(("group", "count"), ROWS.items())
def test_every_row_is_there(group, count):
  for row in range(1, count + 1):
    assert [one for one in IDS if re.fullmatch(rf"{group}-{row}[a-z]?", one)], f"{group}-{row}"
  numbers = {int(match[1]) for one in IDS if one not in OWN and (match := re.fullmatch(rf"{group}-(\d+)[a-z]?", one))}
  assert numbers == set(range(1, count + 1))


def test_rows_with_parts_and_rows_on_real_text_are_claims_of_their_own():
  assert {*MORE, *PARTS, *OWN} <= set(IDS)
  assert sum(ROWS.values()) + 1 == 135  # SCALE-1b is a row, too
  whole = {re.sub("[a-z]$", "", one) for one in PARTS}
  assert not whole & set(IDS)


def test_ids_are_unique_and_well_formed():
  assert len(set(IDS)) == len(IDS) >= 135
  assert all(re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+[a-z]?", one) for one in IDS)


def test_one_folder_per_group():
  folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
  assert folders == {claim.group.lower() for claim in CLAIMS}
  for claim in CLAIMS:
    assert f'"{claim.id}"' in "".join(p.read_text() for p in (FOLDER / claim.group.lower()).glob("*.py")), claim.id


def test_nobody_types_what_follows_from_the_experiment():
  typed = []
  for path in FILES:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call) and ast.unparse(node.func) == "Claim":
        said = {word.arg: word.value for word in node.keywords}
        evidence = ast.literal_eval(said["evidence"]) if "evidence" in said else None
        kind = evidence or ast.unparse(said["experiment"]).partition("(")[0].lower()
        nature = ast.literal_eval(said["nature"]) if "nature" in said else None
        if (evidence and "experiment" in said) or (nature and nature == data.NATURE_OF.get(kind)):
          typed.append(ast.literal_eval(said["id"]))
  assert not typed


@pytest.mark.parametrize("claim", CLAIMS, ids=IDS)
def test_fields(claim):
  assert claim.nature in data.NATURES
  assert claim.evidence in data.EVIDENCE
  assert claim.measure
  assert claim.experiment is None or type(claim.experiment).__name__.lower() == claim.evidence
  assert 3 <= len(claim.statement.split()) <= 30
  assert claim.statement.endswith(".")
  assert (claim.statement + claim.measure + claim.note).isascii()
  for number in claim.literature:
    assert number.value
    assert re.search(r"\d{4}|PR \d+|README", number.source), number


@pytest.mark.parametrize("claim", CLAIMS, ids=IDS)
def test_places_are_in_the_documents_and_in_order(claim):
  places = claim.place.split("; ")
  assert places == sorted(set(places), key=catalog.PLACES.index)
  assert claim.document in (places[0][:2], "extension")


def test_no_item_of_the_documents_is_left_out():
  told = {place for claim in CLAIMS if claim.document != "extension" for place in claim.place.split("; ")}
  assert told == set(catalog.PLACES)


def test_statements_differ():
  statements = [claim.statement for claim in CLAIMS]
  assert len(set(statements)) == len(statements)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_claim_files_name_no_outcome(path):
  found = re.findall(OUTCOMES, path.read_text(), re.IGNORECASE)
  assert not found


def runs(text: str, length: int) -> set[tuple[str, ...]]:
  words = re.findall(r"[a-z0-9]+", text.lower())
  return set(zip(*(words[start:] for start in range(length)), strict=False))


def test_nothing_is_quoted():
  folder = Path(os.environ.get("ASSAY_DOCUMENTS", ROOT.parent / "shared/documents"))
  if not folder.is_dir():
    pytest.skip("the documents are not here; ASSAY_DOCUMENTS names their folder")
  theirs = set().union(*(runs(path.read_text(), 8) for path in folder.glob("*.txt")))
  assert theirs
  for claim in CLAIMS:
    for text in (claim.statement, claim.measure, claim.note):
      assert not runs(text, 8) & theirs, claim.id


def test_contradictions_are_mutual_and_named_once():
  named = {frozenset((claim.id, other)) for claim in CLAIMS for other in claim.contradicts}
  assert all(claim.id in catalog.by_id(other).contradicts for claim in CLAIMS for other in claim.contradicts)
  pairs = catalog.contradictions()
  assert {frozenset(pair[:2]) for pair in pairs} == named
  assert len(pairs) == len(named)
  assert all(len(pair) == 2 for pair in named)
  assert all(subject for *_, subject in pairs)


def functions(path: Path) -> set[str]:
  return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if isinstance(claim.experiment, data.Check | data.Bench)])
def test_checks_and_benches_exist(claim):
  module, function = claim.experiment.run.rsplit(".", 1)
  folder = {data.Check: "claims", data.Bench: "bench"}[type(claim.experiment)]
  assert function in functions(ROOT / "experiments" / folder / f"{module.replace('.', '/')}.py")


def test_exact_mechanism_rows_can_run():
  for claim in catalog.group("MECH"):
    assert (claim.tiers == ("exact",)) == (claim.nature == "exact"), claim.id


def test_the_catalog_needs_no_jax():
  code = "import sys; from experiments.protocol import catalog; catalog.select(['mech']); print(sorted(sys.modules))"
  loaded = ast.literal_eval(
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout.decode()
  )
  assert not {"jax", "flax", "optax", "scipy", "matplotlib", "numpy"} & set(loaded)


def test_document_order():
  keys = [(catalog.DOCUMENTS.index(c.document), catalog.PLACES.index(c.place.split("; ")[0])) for c in CLAIMS]
  assert keys == sorted(keys)
  mechanisms = [claim.id for claim in CLAIMS if claim.place == "D2a-9" and claim.group == "MECH"]
  assert mechanisms == ["MECH-10", "MECH-11a", "MECH-11b"]


@given(st.lists(st.sampled_from(IDS), min_size=1))
def test_a_selection_has_each_claim_once_in_document_order(names):
  chosen = [claim.id for claim in catalog.select(names)]
  assert chosen == [one for one in IDS if one in names]


def test_selection_by_group_part_and_case():
  assert catalog.select([]) == list(CLAIMS)
  assert catalog.select(["head"]) == list(catalog.group("HEAD"))
  assert [claim.id for claim in catalog.select(["mech-11", "MECH-11A"])] == ["MECH-11a", "MECH-11b"]
  assert [claim.id for claim in catalog.select(["SCALE-1"])] == ["SCALE-1"]
  assert catalog.by_id("MECH-11a").id == "MECH-11a"


@pytest.mark.parametrize(("name", "near"), [("HEDA", "HEAD"), ("DROP-33", "DROP-3"), ("SCALES", "SCALE")])
def test_unknown_names_are_refused_with_a_suggestion(name, near):
  with pytest.raises(Refused, match=f"{name}.*did you mean {near}"):
    catalog.select([name])
  with pytest.raises(Refused, match="no claim or group"):
    catalog.by_id(name)
  with pytest.raises(Refused, match="no claim or group"):
    catalog.group(name)


MINE = """
from experiments.protocol.claim import Claim
CLAIMS = (Claim(id="{id}", document="{document}", place="extension", statement="{statement}", nature="{nature}",
  evidence="trial", measure="accuracy"),)
"""
GOOD = {"id": "MINE-1", "document": "extension", "statement": "Longer keys help.", "nature": "empirical"}


@pytest.fixture
def own(tmp_path, monkeypatch):
  monkeypatch.setattr(catalog, "_own", {})
  counter = itertools.count()

  def write(text: str) -> str:
    path = tmp_path / f"claims_{next(counter)}.py"
    path.write_text(text)
    return str(path)

  return write


def test_claims_of_a_users_file_are_selected_and_known_afterwards(own):
  path = own(MINE.format(**GOOD))
  chosen = catalog.select(["GB-1", path])
  assert [claim.id for claim in chosen] == ["GB-1", "MINE-1"]
  assert catalog.by_id("MINE-1") is chosen[1]
  assert catalog.group("MINE") == (chosen[1],)
  assert "MINE-1" not in {claim.id for claim in catalog.all_claims()}
  assert catalog.select([path]) == catalog.select(["MINE"])  # the same file again is the same claim


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"id": "mine-1"}, "capitals"),
    ({"id": "HEAD-99"}, "one of ours"),
    ({"document": "D9"}, "use one of D0"),
    ({"nature": "certain"}, "use one of exact"),
    ({"statement": "word " * 31}, "31 words"),
  ],
)
def test_faulty_claims_of_a_users_file_are_refused(own, change, said):
  with pytest.raises(Refused, match=said):
    catalog.select([own(MINE.format(**GOOD | change))])


@pytest.mark.parametrize(
  ("text", "said"), [("CLAIMS = (", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("", "no CLAIMS")]
)
def test_files_without_claims_are_refused_in_one_line(own, text, said):
  with pytest.raises(Refused, match=said) as refused:
    catalog.select([own(text)])
  assert "\n" not in str(refused.value)


def test_one_id_for_two_claims_is_refused(own):
  with pytest.raises(Refused, match="one id"):
    catalog.select([own(MINE.format(**GOOD) + "CLAIMS *= 2\n")])


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(Refused, match="assay new claim"):
    catalog.select([str(tmp_path / "nothing.py")])
