"""Text: rows are stretches of one split, splits are cut by place, and what is no text is refused in one line."""

import hashlib
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import override
from experiments.record import corpora
from model.errors import Refused
from tests.train.tasks import written
from train.tasks.text import HELD, Text


@pytest.fixture
def file(tmp_path):
  """Writes a file and returns its name."""

  def write(content: str | bytes) -> str:
    path = tmp_path / "mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)

  return write


def said(task, numbers):
  return "".join(task.symbols[number] for number in numbers)


def test_the_docstrings_example_is_what_a_row_looks_like(file):
  task = Text(path=file("the cat sat" * 50), length=8)
  shown = {
    name: re.search(rf"{name} +((?:\S  ?)*\S)\n", Text.__doc__ or "").group(1).split()  # type: ignore[union-attr]
    for name in ("tokens", "targets")
  }
  rows = jax.device_get(task.sample(jax.random.key(0), 200, task.data("train")))
  found = {
    tuple(said(task, tokens).replace(" ", "_")): said(task, targets).replace(" ", "_")
    for tokens, targets in zip(rows.inputs.tokens_BTC[..., 0], rows.targets_BTR[..., 0], strict=True)
  }
  assert list(found[tuple(shown["tokens"])]) == shown["targets"]


def test_rows_are_stretches_of_the_split_and_every_target_is_the_next_symbol():
  task = Text(path=written.path(), length=40)
  for split in ("train", "validation", "test"):
    data = task.data(split)
    batch = jax.device_get(task.sample(jax.random.key(0), 3, data))
    for tokens_T, targets_T in zip(batch.inputs.tokens_BTC[..., 0], batch.targets_BTR[..., 0], strict=True):
      np.testing.assert_array_equal(tokens_T[1:], targets_T[:-1])
      assert said(task, [*tokens_T, targets_T[-1]]) in said(task, data)


def test_splits_are_cut_by_place_and_lose_nothing():
  text = Path(written.path()).read_text()
  task = Text(path=written.path())
  parts = [said(task, task.data(split)) for split in ("train", "validation", "test")]
  assert "".join(parts) == text
  assert len(parts[1]) == len(parts[2]) == len(text) // HELD
  assert task.floor == max(parts[2].count(symbol) for symbol in task.symbols) / len(parts[2])


@pytest.mark.parametrize(("unit", "symbols"), [("character", ["\r", "a", "é", "ß", "€", "𝄞"]), ("byte", None)])
def test_the_vocabulary_is_what_the_file_holds(file, unit, symbols):
  text = "aé€ß𝄞\r\n" * 100
  task = Text(path=file("\ufeff" + text if unit == "character" else text), length=4, unit=unit)
  wanted = sorted(set(text) if unit == "character" else set(text.encode()))
  assert list(task.symbols) == wanted
  assert task.vocabulary.inputs == (len(wanted),) == (task.vocabulary.outputs,)
  assert symbols is None or set(symbols) < set(task.symbols)
  whole = np.concatenate([task.data(split) for split in ("train", "validation", "test")])
  again = [task.symbols[number] for number in whole]
  assert ("".join(again) if unit == "character" else bytes(again).decode()) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [1, 10])
def test_the_shortest_file_serves_and_one_symbol_less_does_not(file, length):
  text = "ab" * HELD * (length + 1)
  shortest = HELD * (length + 1)
  task = Text(path=file(text[:shortest]), length=length)
  for split in ("validation", "test"):
    batch = jax.device_get(task.sample(jax.random.key(0), 8, task.data(split)))
    np.testing.assert_array_equal(batch.targets_BTR[..., 0], 1 - batch.inputs.tokens_BTC[..., 0])
  with pytest.raises(Refused, match=f"has {shortest - 1} characters.*allowed: {shortest} or more"):
    Text(path=file(text[: shortest - 1]), length=length)


@pytest.mark.parametrize(
  ("content", "options", "told"),
  [
    (b"", {}, "is empty"),
    (b"GIF89a\0\1\2" * 1000, {}, "holds a byte 0 and is no text"),
    (b"GIF89a\0\1\2" * 1000, {"unit": "byte"}, "holds a byte 0 and is no text"),
    (b"caf\xe9 " * 1000, {}, r"is not UTF-8 \(byte 0xe9 at 3\).*task.unit=byte"),
    (b"a" * 10_000, {}, "two or more different ones"),
    (b"ab" * 10_000, {"unit": "word"}, "allowed: character, byte"),
    (b"ab" * 10_000, {"length": 0}, "task.length"),
  ],
)
def test_what_is_no_text_is_refused_in_one_line(file, content, options, told):
  with pytest.raises(Refused, match=told) as caught:
    Text(path=file(content), **options)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.txt", ".", "a\0b"])
def test_what_cannot_be_read_is_refused_in_one_line(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(Refused, match=r"cannot be read \(.+\); give a text file") as caught:
    Text(path=name)
  assert "\n" not in str(caught.value)


def test_latin_text_can_be_read_by_bytes(file):
  assert Text(path=file(b"caf\xe9 " * 1000), unit="byte").symbols == tuple(sorted(b"caf\xe9 "))


def test_the_files_content_is_part_of_the_trials_key(file):
  name = file("ab" * 5000)
  config = override.resolve(override.load("recall", ["model.kind=gpt", "task.kind=text", f"task.path={name}"]))
  sha256 = hashlib.sha256(Path(name).read_bytes()).hexdigest()
  assert Text(path=name).data_sha256() == {"task.path": sha256}
  assert corpora.hashes(config, said=Text(path=name).data_sha256()) == {"task.path": sha256}
  file("ba" * 5001)
  assert corpora.hashes(config, said={}) != {"task.path": sha256}
  assert Text(path=name).data_sha256() == corpora.hashes(config, said={})


# ---------------------------------------------------------------------------------------------------------------------
# Text in, text out


@pytest.mark.parametrize("unit", ["character", "byte"])
def test_a_text_is_what_its_numbers_spell(file, unit):
  text = "Füße, fünf Öfen\n" * 60
  task = Text(path=file(text), unit=unit, length=4)
  for part in (text[:9], "Öß", "fffff", ""):
    assert task.decode(task.encode(part)) == part
  numbers = task.encode(text)
  everything = np.concatenate([task.data(split) for split in ("train", "validation", "test")])
  np.testing.assert_array_equal(numbers, everything)
  assert task.decode(everything) == text


def test_what_the_file_does_not_hold_is_named(file):
  task = Text(path=file("the cat sat" * 50), length=8)
  with pytest.raises(Refused, match=r"'!', 'z' stands nowhere in the file of this task; allowed: its 7 characters"):
    task.encode("a cat z!")
  octets = Text(path=file("the cat sat" * 50), length=8, unit="byte")
  with pytest.raises(Refused, match=r"0xbc, 0xc3 stands nowhere .* its 7 bytes"):
    octets.encode("ü")
  for number in (-1, 7):  # decoding marks a position outside of a table by -1
    with pytest.raises(Refused, match=f"{number} is no symbol of this text; allowed: 0 to 6"):
      task.decode([0, number])


def test_a_torn_character_is_shown_as_such(file):
  octets = Text(path=file("größer" * 100), length=4, unit="byte")
  assert octets.decode(octets.encode("ö")[:1]) == "\N{REPLACEMENT CHARACTER}"
