"""Orders of sublayers: each equals its formula, all have the same parameters, impossible ones are refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.errors import Refused
from model.mask import Mask, everything, rows
from model.order import Wiring
from model.transformer import Encoder
from tests.model import tiny

X = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 16)), jnp.float32)
WHOLE = Mask(rows(5), rows(5), everything())


def stack(order, norm="pre", depth=2, **options):
  settings = {"width": 16, "heads": 4, "depth": depth, "wiring": {"norm": norm, "order": order}, **options}
  return tiny.realize(lambda: Encoder(build.complete(settings)), 1)


def a(block, x):  # the attention sublayer without norm and residual
  return block.attention(x, x, WHOLE)[0]


def test_each_order_equals_its_formula():
  made = {order: stack(order) for order in ("af", "fa", "p", "aaff")}
  one, two = made["af"].layers

  def look(block, x):
    return x + a(block, block.attention_norm(x))

  def feed(block, x):
    return x + block.feedforward(block.feedforward_norm(x))

  def both(block, x):
    return x + a(block, block.attention_norm(x)) + block.feedforward(block.feedforward_norm(x))

  formulas = {
    "af": feed(two, look(two, feed(one, look(one, X)))),
    "fa": look(two, feed(two, look(one, feed(one, X)))),
    "p": both(two, both(one, X)),
    "aaff": feed(two, feed(one, look(two, look(one, X)))),
  }
  for order, expected in formulas.items():
    np.testing.assert_allclose(made[order](X, rows(5))[0], made["af"].norm(expected), atol=1e-5, err_msg=order)


def test_a_parallel_block_with_the_norm_behind_normalizes_the_sum():
  made = stack("p", norm="post", depth=1)
  block = made.layers[0]
  expected = block.attention_norm(X + a(block, X) + block.feedforward(X))
  np.testing.assert_allclose(made(X, rows(5))[0], expected, atol=1e-5)


def test_all_orders_have_the_same_parameters():
  named = [sorted(path for path, _ in nnx.to_flat_state(nnx.state(stack(order), nnx.Param))) for order in ("af", "p")]
  assert named[0] == named[1]


def test_plans():
  assert Wiring(order="af").plan(2) == (("a", 0), ("f", 0), ("a", 1), ("f", 1))
  assert Wiring(order="p").plan(2) == (("p", 0), ("p", 1))
  assert Wiring(order="aaff").plan(4) == tuple(
    (letter, layer) for i in (0, 2) for letter in "af" for layer in (i, i + 1)
  )


@pytest.mark.parametrize(("order", "depth"), [("", 1), ("a", 1), ("aff", 2), ("axf", 1), ("apf", 2), ("aaff", 3)])
def test_orders_that_leave_a_layer_out_are_refused(order, depth):
  with pytest.raises(Refused, match=r"wiring\.order"):
    stack(order, depth=depth)
  with pytest.raises(Refused, match="cross"):
    tiny.model("seq2seq", wiring={"order": "p"})
