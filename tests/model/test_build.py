"""From options to classes: files are the registry, signatures the schema, every mistake one line with a suggestion."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from flax import nnx

import model
from model import build, initial
from model.errors import Refused
from model.vocabulary import Vocabulary
from tests.model.tiny import OPTIONS, vocabulary

FAMILIES = ("attention", "position", "feedforward")
MINE = """
from flax import nnx
from model.linear import Linear

class Cubic(nnx.Module):
  def __init__(self, width: int, *, power: int = 3, scale: float | None = None):
    self.up, self.power = Linear(width, width), power

  def __call__(self, x_BTM):
    return self.up(x_BTM) ** self.power
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_file_is_a_kind(family):
  folder = Path(model.__file__).parent / family
  files = {path.stem for path in folder.glob("*.py")} - {"__init__", *build.INTERFACES}
  assert set(build.kinds(family)) == files
  for kind in files:
    cls = build.resolve(family, kind)
    assert cls.__module__ == f"model.{family}.{kind}"
    for name, (hint, _) in build.options(cls).items():
      assert hint is not None
      assert name not in build.CONTEXT


def test_kinds_answer_without_jax():
  code = "import sys; from model import build; build.kinds('attention'); sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_options_are_the_signature():
  assert build.options(build.resolve("feedforward", "gelu")) == {"hidden": (int, 0), "tanh": (bool, False)}
  own = build.options(build.resolve("attention", "dot"))
  assert own["scale"] == (float | None, None)
  assert own["learned"] == (bool, False)
  assert build.options(build.resolve("position", "none")) == {}


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"kind": "gptt"}, ["gptt", "gpt"]),
    ({"widht": 8}, ["widht", "did you mean width"]),
    ({"width": "8"}, ["width", "str", "int"]),
    ({"width": True}, ["width", "bool", "int"]),
    ({"bias": 1}, ["bias", "int", "bool"]),
    ({"heads": 3}, ["heads=3", "width=16", "1, 2, 4, 8, 16"]),
    ({"kv_heads": 3}, ["kv_heads=3", "heads=4", "1, 2, 4"]),
    ({"heads": 0}, ["heads=0", "1 or more"]),
    ({"window": -1}, ["window=-1"]),
    ({"tie": "kq"}, ["kq", "none, qk, kv, qkv"]),
    ({"tie": "qk", "kv_heads": 2}, ["kv_heads"]),
    ({"tie": "kv", "value_dim": 3}, ["value_dim=3"]),
    ({"dropout": 1.0}, ["dropout=1.0", "0 or more and below 1"]),
    ({"attention_dropout": -0.1}, ["attention_dropout=-0.1", "0 or more and below 1"]),
    ({"wiring": {"norm": "prep"}}, ["prep", "did you mean pre"]),
    ({"wiring": {"residul": True}}, ["residul", "did you mean residual"]),
    ({"init": {"kind": "glort"}}, ["glort", "did you mean glorot"]),
    ({"init": {"qk": "torch_mah"}}, ["torch_mah", "did you mean torch_mha"]),
    ({"attention": {"kind": "dott"}}, ["attention.kind=dott", "did you mean dot"]),
    ({"attention": {"kind": "dot", "scal": 1.0}}, ["scal", "did you mean scale"]),
    ({"attention": {"kind": "dot", "scale": "big"}}, ["scale='big'", "float"]),
    ({"attention": {"kind": "dot", "layer": 1}}, ["layer"]),
    ({"attention": {"kind": 3}}, ["3", "not a name"]),
    ({"attention": {}}, ["no kind", "dot"]),
    ({"attention": "dot"}, ["attention='dot'", "dict"]),
    ({"position": {"kind": "none", "length": 3}}, ["length", "no options"]),
    ({"feedforward": {"kind": "nothere.py:Mine"}}, ["nothere.py"]),
    ({"feedforward": {"kind": "mechanism"}}, ["mechanism"]),
  ],
)
def test_mistakes_are_told_in_one_line(options, words):
  with pytest.raises(Refused) as error:
    build.model({**OPTIONS, **options}, vocabulary("gpt"))
  message = str(error.value)
  assert "\n" not in message
  for word in words:
    assert word in message


def test_dtype_and_vocabulary_are_checked():
  with pytest.raises(Refused, match="float16"):
    build.model(OPTIONS, vocabulary("gpt"), "float16")
  with pytest.raises(Refused, match="seq2seq"):
    build.model({"kind": "gpt"}, Vocabulary((3,), 3, 1, (3,)))
  with pytest.raises(Refused, match="source"):
    build.model({"kind": "seq2seq"}, Vocabulary((3,), 3))


def test_head_dim_frees_the_width():
  options = {**OPTIONS, "heads": 3, "head_dim": 5, "kv_heads": 1, "value_dim": 7}
  module = nnx.eval_shape(lambda: build.model(options, vocabulary("gpt")))
  attention = module.decoder.layers[0].attention
  assert attention.query.shape == (16, 1, 3, 5)
  assert attention.value.shape == (16, 1, 7)
  assert attention.out.shape == (1, 3, 7, 16)


def test_users_file(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(MINE)
  kind = f"{path}:Cubic"
  cls = build.resolve("feedforward", kind)
  assert cls is build.resolve("feedforward", kind)
  assert build.options(cls) == {"power": (int, 3), "scale": (float | None, None)}
  settings = {**OPTIONS, "feedforward": {"kind": kind, "power": 2}}
  module = nnx.eval_shape(lambda: build.model(settings, vocabulary("gpt")))
  assert module.decoder.layers[0].feedforward.power == 2
  with pytest.raises(Refused, match="did you mean Cubic"):
    build.resolve("feedforward", f"{path}:Cubik")
  with pytest.raises(Refused, match="did you mean power"):
    build.make("feedforward", {"kind": kind, "powr": 2}, width=4)
  path.write_text("import no_such_package_at_all")
  with pytest.raises(Refused, match="no_such_package_at_all"):
    build.resolve("feedforward", f"{path}:Mine")


def test_a_users_model(tmp_path):
  path = tmp_path / "whole.py"
  path.write_text(
    "from model.models.gpt import Gpt\n\nclass Twice(Gpt):\n  def __call__(self, inputs, **how):\n"
    "    logits, carry = super().__call__(inputs, **how)\n    return 2 * logits, carry\n"
  )
  module = nnx.eval_shape(lambda: build.model({**OPTIONS, "kind": f"{path}:Twice"}, vocabulary("gpt")))
  assert type(module).__name__ == "Twice"


def test_a_list_from_json_is_a_tuple_and_an_int_a_float():
  schema = {"sizes": (tuple[int, ...], ()), "rate": (float, 0.0), "scale": (float | None, None)}
  given = json.loads('{"sizes": [1, 2], "rate": 1, "scale": null}')
  checked = build.check("it", given, schema)
  assert checked == {"sizes": (1, 2), "rate": 1.0, "scale": None}
  assert isinstance(checked["rate"], float)
  with pytest.raises(Refused, match="use int"):
    build.check("it", {"sizes": [1, "2"]}, schema)


def test_nothing_is_drawn_or_compiled_while_building():
  module = nnx.eval_shape(lambda: build.model(OPTIONS, vocabulary("gpt")))
  assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(module)))


def test_parameter_paths_are_readable_and_shared_between_arms():
  def paths(**options):
    module = nnx.eval_shape(lambda: build.model({**OPTIONS, **options}, vocabulary("gpt")))
    return {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))}

  base = paths()
  assert {"decoder/layers/0/attention/query", "decoder/layers/1/feedforward/up/kernel", "readout/kernel"} <= base
  for other in ({"heads": 1}, {"kv_heads": 1}, {"dropout": 0.1}, {"window": 2}, {"feedforward": {"kind": "identity"}}):
    assert paths(**other) == base


def test_dials_of_a_model():
  module = nnx.eval_shape(lambda: build.model({**OPTIONS, "depth": 1, "dropout": 0.2}, vocabulary("gpt")))
  assert initial.dials(module) == {
    "decoder/dropout/rate": 0.2,
    "decoder/layers/0/dropout/rate": 0.2,
    "decoder/layers/0/attention/mechanism/scale": 0.5,
  }
