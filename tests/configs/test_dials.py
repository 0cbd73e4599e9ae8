"""Which options are run-time numbers: those that a constructor hands to `dial` and uses nowhere else."""

from typing import Any

import pytest
from flax import nnx

from configs import slots, source
from model import build
from model.initial import Dial

FAMILIES = [family for family in slots.FOLDERS if family not in ("tasks", "models")]
KINDS = [(family, kind) for family in FAMILIES for kind in slots.kinds(family)]
GIVEN: dict[str, dict[str, Any]] = {
  "attention": {"heads": 2, "head_dim": 8},
  "position": {"width": 16, "heads": 2, "head_dim": 8},
  "feedforward": {"width": 16},
  "cell": {"width": 16, "hidden": 16},
}

HEAD = """
import math
import model.initial
from model import initial
from model.attention.dot import Dot
from model.attention.mechanism import Mechanism
from model.initial import dial


class Mine(Mechanism):
  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float = 1.0, gain: float = 1.0):
    super().__init__(heads, head_dim, layer=layer)
"""
BODIES = {  # the constructor's rest: the options that are dials
  "self.factor = scale": "",
  "self.scale = dial(scale)": "scale",
  "self.scale = initial.dial(scale)": "scale",
  "self.sharpness = dial(2 * math.sqrt(gain))": "gain",
  "self.scale = dial(head_dim**-0.5 if scale is None else scale)": "scale",
  "self.scale, self.gain = dial(scale), dial(gain)": "scale gain",
  "self.product = dial(scale * gain)": "scale gain",
  "self.scale = dial(scale); self.sharp = scale > 1": "",
  "self.scale = dial(scale) if scale else None": "",
  "if scale: self.gain = dial(gain)": "gain",
  "self.scale = dial(scale); self.gain = lambda: gain": "scale",
  "self.scale = dial(scale); self.keep(scale)": "",
  "self.scale = dial(self.keep(scale))": "",
  "self.scale = dial(kept := scale); self.kept = kept": "",
  "self.scale = dial(scale); self.all = locals()": "",
  "self.scale = dial(scale); self.sharp = self.scale.given > 1": "",
  "self.scale = dial(scale); self.sharp = getattr(self.scale, 'given')": "",
  "self.scale = other.dial(scale)": "",
}


def write(folder, text, name="Mine"):
  path = folder / "mine.py"
  path.write_text(text)
  return f"{path}:{name}"


@pytest.mark.parametrize("body", BODIES)
def test_an_option_is_a_dial_when_it_goes_into_one_and_nowhere_else(tmp_path, body):
  assert slots.dials("attention", write(tmp_path, HEAD + f"    {body}\n")) == set(BODIES[body].split())


@pytest.mark.parametrize(
  "stolen",
  ["def dial(x):\n  return float(x)\n", "from helper import dial\n", "dial = float\n", "def f(dial):\n  return dial\n"],
)
def test_a_dial_of_ones_own_is_none(tmp_path, stolen):
  assert not slots.dials("attention", write(tmp_path, HEAD + f"    self.scale = dial(scale)\n\n\n{stolen}"))


def test_a_class_without_a_constructor_has_its_bases_dials(tmp_path):
  text = "from model.attention.dot import Dot\n\n\nclass Mine(Dot):\n  pass\n"
  assert slots.dials("attention", write(tmp_path, text)) == {"scale"}
  assert not slots.dials("attention", write(tmp_path, text.replace("(Dot)", "(Dot, Unknown)")))  # cannot be read
  assert not slots.dials("attention", write(tmp_path, text.replace("class", "@wrapped\nclass")))
  (tmp_path / "near.py").write_text(HEAD + "    self.gain = dial(gain)\n")
  beside = "from near import Mine as Near\n\n\nclass Mine(Near):\n  pass\n"
  assert slots.dials("attention", write(tmp_path, beside)) == {"gain"}


def test_a_file_written_again_is_read_again(tmp_path):
  kind = write(tmp_path, HEAD + "    self.scale = dial(scale)\n")
  assert slots.dials("attention", kind) == {"scale"}
  assert not slots.dials("attention", write(tmp_path, HEAD + "    self.factor = scale\n"))


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_what_is_read_of_our_kinds_is_what_their_objects_hold(family, kind):
  """Options by the names of dials that the built object has; all bases of our kinds can be followed."""
  found = slots.dials(family, kind)
  made = build.make(family, {"kind": kind} | slots.defaults(family, kind), **GIVEN[family])
  held = [path[-1] for path, _ in nnx.to_flat_state(nnx.state(made, Dial))]
  named = set(slots.options(family, kind)) & set(held)
  assert named == found
  assert source.chain(slots.class_of(family, kind))[1]
