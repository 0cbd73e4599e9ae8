"""The contract of a whole model: what its file states of it is so."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs import slots
from model import build
from model.block import Block
from model.cell.cell import Cell
from model.errors import Refused
from model.language import Inputs
from model.mask import rows
from model.vocabulary import Vocabulary

KINDS = build.kinds("models")
SETTINGS = {"width": 8, "heads": 2, "depth": 1}


def test_what_is_read_from_the_files_is_what_the_classes_hold():
  assert slots.kinds("models") == KINDS
  for kind in KINDS:
    cls, told = build.resolve("models", kind), slots.describe("models", kind)
    assert told["file"] == f"model/models/{kind}.py"
    assert told["attributes"] == {"built_of": cls.built_of, "reads_source": cls.reads_source}
    assert told["summary"]
    assert not told["options"]  # they are those of model/schema.py


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_built_of_what_it_says_and_answers_every_token(kind):
  cls = build.resolve("models", kind)
  vocabulary = Vocabulary((5,), 7, 2, (3,) if cls.reads_source else ())
  module = nnx.eval_shape(lambda: build.model({"kind": kind, **SETTINGS}, vocabulary))
  inside = {type(part) for _, part in nnx.iter_graph(module)}
  assert any(issubclass(part, Block) for part in inside) == (cls.built_of == "blocks")
  assert any(issubclass(part, Cell) for part in inside) == (cls.built_of == "cells")
  graph, state = nnx.split(module)
  source = (jnp.zeros((2, 4, 1), jnp.int32), rows(4)) if cls.reads_source else (None, None)
  inputs = Inputs(jnp.zeros((2, 3, 1), jnp.int32), rows(3), *source)
  logits = jax.eval_shape(lambda state: nnx.merge(graph, state)(inputs)[0], state)
  assert (logits.shape, logits.dtype) == ((2, 3, 2, 7), jnp.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_does_not_fit_is_told_with_the_kinds_that_do(kind):
  reads = build.resolve("models", kind).reads_source
  with pytest.raises(Refused, match=f"model.kind={kind} does not fit") as caught:
    build.model({"kind": kind, **SETTINGS}, Vocabulary((5,), 5, 1, () if reads else (5,)))
  fit = str(caught.value).partition("use ")[2].split(" or ")
  assert fit == [f"kind={one}" for one in KINDS if build.resolve("models", one).reads_source != reads]
