"""Models give on the accelerator what they give on the CPU, with every position scheme, feed-forward layer and cell."""

import jax
import pytest

from model import build
from tests import device
from tests.model import tiny

pytestmark = pytest.mark.gpu
ARMS = {
  **{f"position {kind}": {"position": {"kind": kind}} for kind in build.kinds("position")},
  **{f"feedforward {kind}": {"feedforward": {"kind": kind}} for kind in build.kinds("feedforward")},
  **{f"cell {kind}": {"kind": "rnn", "cell": {"kind": kind}} for kind in build.kinds("cell")},
  "encoder and decoder": {"kind": "seq2seq"},
  "reads": {"kind": "rnn_seq2seq", "reads": "after"},
}


@pytest.mark.parametrize("arm", ARMS)
def test_a_model_agrees_with_the_cpu(arm):
  options = {"depth": 1, **ARMS[arm]}
  kind = options.pop("kind", "gpt")
  family = "seq2seq" if "seq2seq" in kind else "gpt"
  made = tiny.model(kind, **options) if kind != "rnn_seq2seq" else _pair(options)
  given = tiny.inputs(family, (5, 3), (4, 2), total=10)
  device.agree(_logits, made, given)


def _pair(options):
  settings = {**tiny.OPTIONS, "kind": "rnn_seq2seq", **options}
  return tiny.realize(lambda: build.model(settings, tiny.vocabulary("seq2seq")))


@jax.jit
def _logits(made, given):
  return made(given)[0]
