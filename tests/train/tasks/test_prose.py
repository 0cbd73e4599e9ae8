"""Prose: rows are stretches of one split, targets the next character, and every data file is part of a trial's key."""

import jax
import numpy as np
import pytest

from configs import slots
from experiments.record import corpora
from model import build
from model.errors import Refused
from train.corpora import pydoc_data
from train.tasks.prose import Prose


def test_rows_are_stretches_of_the_split():
  task = Prose(length=40)
  for split in ("train", "validation", "test"):
    data = task.data(split)
    batch = jax.device_get(task.sample(jax.random.key(0), 3, data))
    text = bytes(data)
    for tokens_T, targets_T in zip(batch.inputs.tokens_BTC[..., 0], batch.targets_BTR[..., 0], strict=True):
      np.testing.assert_array_equal(tokens_T[1:], targets_T[:-1])
      assert bytes([*tokens_T.astype(np.uint8), int(targets_T[-1])]) in text


def test_splits_are_disjoint_parts_of_readable_text():
  parts = [pydoc_data.split(name) for name in ("train", "validation", "test")]
  assert sum(map(len, parts)) == len(pydoc_data.text())
  assert "".join(pydoc_data.SYMBOLS[c] for c in parts[0][:200]) == pydoc_data.text()[:200]
  assert min(map(len, parts)) > 10_000
  task = Prose()
  assert len(task.data("validation")) == len(task.data("test"))
  assert task.floor == max(np.bincount(np.frombuffer(parts[2], np.uint8))) / len(parts[2])


@pytest.mark.parametrize("kind", [kind for kind in slots.kinds("tasks") if kind != "text"])  # whose file is a user's
def test_the_hashes_in_a_trials_key_are_those_of_the_files_read(kind):
  task = build.make("tasks", {"kind": kind}, package="train")
  assert corpora.hashes({"task": {"kind": kind}}) == task.data_sha256()
  assert set(task.data_sha256()) == set(task.needs)


def test_a_length_out_of_range_is_refused():
  with pytest.raises(Refused, match="length"):
    Prose(length=0)
