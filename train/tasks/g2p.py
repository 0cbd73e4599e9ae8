"""Grapheme to phoneme: pronounce English spellings of the CMU dictionary (Yao & Zweig 2015) with an encoder-decoder."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.errors import Refused
from model.language import Inputs
from model.mask import Positions
from model.vocabulary import Vocabulary
from train.corpora import cmudict, packing
from train.tasks.task import Batch, Task, check_split, whole

WIDTH = 32  # letters and phones of a row
STOP, START, PAD = len(cmudict.PHONES), len(cmudict.PHONES) + 1, len(cmudict.PHONES) + 2
NO_LETTER = len(cmudict.LETTERS)
CLASSES = (5, 7, 9)  # greatest number of letters in each length class but the last
SOURCE, SOURCE_POS, SOURCE_SEGMENT, TOKEN, POS, SEGMENT, TARGET, LENGTH_CLASS = range(8)  # fields of a packed row
SHAPES = ((12, 16), (WIDTH, WIDTH))  # (letters, phones with the stop) of the decoding batches
DECODE_BATCH = 250
SALT = 1998


class G2p(Task):
  """Rows hold several words side by side; a word sees only itself, on both sides, because segments differ.

  One row of "cat" and "dog" (S start, E stop, . nothing)::

      source           c  a  t  d  o  g  .  .
      source segment   1  1  1  2  2  2  0  0
      source position  0  1  2  0  1  2  0  0
      tokens           S  K  AE T  S  D  AO G
      targets          K  AE T  E  D  AO G  E
      segment          1  1  1  1  2  2  2  2

  A word with several pronunciations takes one of them per packing in training and the first listed one in validation
  and test; `packings` shuffled packings of the training words vary the pronunciations and the neighbors. The split is
  by stem. Slices are classes of word length in letters. `judge` decodes `judge_words` words (0: all) of a split.
  The floor is the share of the stop symbol, the most frequent target; the ceiling is an upper bound only.
  """

  needs = ("cmudict",)  # a literal: the command line reads it from the source
  vocabulary = Vocabulary((PAD + 1,), STOP + 1, source=(NO_LETTER + 1,))
  slices = ("1-5 letters", "6-7 letters", "8-9 letters", "10 letters or more")
  judged: Mapping[str, str] = {"wer": "min", "per": "min", "words": ""}
  floor, ceiling = 0.1365, 1.0
  start, stop = START, STOP

  def __init__(self, *, packings: int = 2, judge_words: int = 2000):
    self.packings = whole("packings", packings, 1, 16)
    self.judge_words = whole("judge_words", judge_words, 0)
    cmudict.entries()  # a missing or changed dictionary is told now

  def data(self, split: str) -> np.ndarray:
    """Packed rows, int8 (N, 8 fields, 32); validation and test have the same N (a few words left out)."""
    check_split(split)
    if split == "train":
      return _training_rows(self.packings)
    both = [_rows("validation"), _rows("test")]
    count = min(len(rows) for rows in both)
    return both[split == "test"][:count]

  def sample(self, key: jax.Array, size: int, data: Any = ()) -> Batch:
    """Rows of `data`, drawn with replacement."""
    chosen = jax.random.randint(key, (size,), 0, len(data))
    rows_BFT = jnp.asarray(data)[chosen].astype(jnp.int32)
    targets_BTR, slice_BTR = rows_BFT[:, TARGET, :, None], rows_BFT[:, LENGTH_CLASS, :, None]
    weights_BTR = (rows_BFT[:, SEGMENT, :, None] > 0).astype(jnp.float32)
    return Batch(inputs_of(rows_BFT), targets_BTR, weights_BTR, slice_BTR)

  def judge(self, generate: Callable[..., np.ndarray], split: str) -> Mapping[str, float]:
    """Word and phone error rate of greedy decoding; any listed pronunciation counts as right.

    `generate(source_BSC, source_positions, length)` returns phone numbers (B, length), the stop symbol after the last.
    PER is the sum over words of the edit distance to the nearest reference over the sum of those references' lengths.
    """
    check_split(split)
    words = _in_random_order(split)[: self.judge_words or None]
    wrong = edits = length = 0
    for entries, shape in _decoding_batches(words):
      for entry, spoken in zip(entries, _decode(generate, entries, *shape), strict=True):
        distance, reference = nearest(spoken, entry.pronunciations)
        wrong, edits, length = wrong + (distance > 0), edits + distance, length + len(reference)
    return {"wer": wrong / len(words), "per": edits / length, "words": float(len(words))}

  def data_sha256(self) -> dict[str, str]:
    """Hash of the dictionary file."""
    return {cmudict.PACKAGE: cmudict.SHA256}


def inputs_of(rows_BFT: jax.Array) -> Inputs:
  """What the model reads of packed rows."""
  target, source = (
    Positions(rows_BFT[:, POS], rows_BFT[:, SEGMENT]),
    Positions(rows_BFT[:, SOURCE_POS], rows_BFT[:, SOURCE_SEGMENT]),
  )
  return Inputs(rows_BFT[:, TOKEN, :, None], target, rows_BFT[:, SOURCE, :, None], source)


def edit_distance(left: Sequence[int], right: Sequence[int]) -> int:
  """Levenshtein distance: the fewest insertions, deletions and substitutions."""
  above = list(range(len(right) + 1))
  for i, a in enumerate(left, 1):
    here = [i]
    for j, b in enumerate(right, 1):
      here.append(min(above[j] + 1, here[-1] + 1, above[j - 1] + (a != b)))
    above = here
  return above[-1]


def nearest(spoken: Sequence[int], references: Sequence[Sequence[int]]) -> tuple[int, Sequence[int]]:
  """(edit distance, reference) of the reference closest to what was said; the first listed one on a tie."""
  return min(((edit_distance(spoken, reference), reference) for reference in references), key=lambda pair: pair[0])


def pack(spellings: Sequence[bytes], spoken: Sequence[bytes]) -> np.ndarray:
  """Packed rows, int8 (N, 8 fields, WIDTH), of aligned spellings and pronunciations."""
  letters_N, phones_N = np.array([len(s) for s in spellings]), np.array([len(s) for s in spoken]) + 1
  row_N = packing.first_fit(np.stack([letters_N, phones_N], 1), WIDTH)
  rows = np.zeros((row_N.max() + 1, 8, WIDTH), np.int8)
  rows[:, SOURCE], rows[:, TOKEN] = NO_LETTER, PAD

  def fill(size_N, contents):  # contents: field -> one value per symbol or one per word
    start_N, place_N = packing.offsets(row_N, size_N)
    word = np.repeat(np.arange(len(size_N)), size_N)
    pos = np.arange(len(word)) - np.repeat(np.cumsum(size_N) - size_N, size_N)
    for field, values in contents(pos, place_N[word] + 1, word).items():
      rows[row_N[word], field, start_N[word] + pos] = values

  def source(pos, segment, word):
    return {SOURCE: np.frombuffer(b"".join(spellings), np.uint8), SOURCE_POS: pos, SOURCE_SEGMENT: segment}

  def target(pos, segment, word):
    tokens = np.frombuffer(b"".join(bytes([START]) + s for s in spoken), np.uint8)
    targets = np.frombuffer(b"".join(s + bytes([STOP]) for s in spoken), np.uint8)
    longer = np.searchsorted(CLASSES, letters_N)[word]
    return {TOKEN: tokens, POS: pos, SEGMENT: segment, TARGET: targets, LENGTH_CLASS: longer}

  fill(letters_N, source)
  fill(phones_N, target)
  return rows


def _in_random_order(split: str, salt: int = 0) -> list[cmudict.Entry]:
  entries = cmudict.entries()[split]
  return [entries[i] for i in np.random.default_rng((SALT, salt)).permutation(len(entries))]


@functools.cache
def _rows(split: str) -> np.ndarray:
  words = _in_random_order(split)
  return pack([w.spelling for w in words], [w.pronunciations[0] for w in words])


@functools.cache
def _training_rows(packings: int) -> np.ndarray:
  parts = []
  for index in range(packings):
    words = _in_random_order("train", index)
    choice = np.random.default_rng((SALT, index, 1)).integers(0, 2**31, len(words)).tolist()
    spoken = [w.pronunciations[c % len(w.pronunciations)] for w, c in zip(words, choice, strict=True)]
    parts.append(pack([w.spelling for w in words], spoken))
  return np.concatenate(parts)


def _decoding_batches(words: Sequence[cmudict.Entry]):
  """(words, shape) in batches, by length: each word goes into the smallest of SHAPES that holds all of it."""
  rest = sorted(words, key=lambda w: (len(w.spelling), w.word))
  for letters, phones in SHAPES:
    fits = [len(w.spelling) <= letters and max(map(len, w.pronunciations)) < phones for w in rest]
    here = [w for w, fit in zip(rest, fits, strict=True) if fit]
    rest = [w for w, fit in zip(rest, fits, strict=True) if not fit]
    for first in range(0, len(here), DECODE_BATCH):
      yield here[first : first + DECODE_BATCH], (letters, phones)


def _decode(generate: Callable[..., np.ndarray], entries: Sequence[cmudict.Entry], letters: int, phones: int):
  """What the model says for each word; a short batch is filled up with empty words, so that shapes stay few."""
  source = np.full((DECODE_BATCH, letters), NO_LETTER, np.int32)
  segment = np.zeros_like(source)
  for row, entry in enumerate(entries):
    source[row, : len(entry.spelling)] = list(entry.spelling)
    segment[row, : len(entry.spelling)] = 1
  pos = np.broadcast_to(np.arange(letters, dtype=np.int32), source.shape) * segment
  said = np.asarray(generate(source[..., None], Positions(pos, segment), phones))[: len(entries)]
  if said.ndim != 2:
    raise Refused(f"generate returned an array of shape {said.shape}; allowed: (batch, length)")
  for tokens in said.tolist():
    yield tokens[: tokens.index(STOP)] if STOP in tokens else tokens
