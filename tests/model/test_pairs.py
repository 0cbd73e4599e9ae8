"""Every mechanism with every position scheme: a pair is refused before anything is compiled, or it works as a whole."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.errors import Refused
from model.mask import rows
from model.vocabulary import Vocabulary
from tests.model import tiny

LENGTH, WIDTH = 6, 16
ATTENTION, POSITION = build.kinds("attention"), build.kinds("position")
HOOKS = ("rotate", "inside", "after", "values")
PAIRS = list(itertools.product(ATTENTION, POSITION))


def settings(attention, position, **options):
  given = {"width": WIDTH, "heads": 2, "depth": 1, "attention": {"kind": attention}, "position": {"kind": position}}
  return build.complete({"kind": "gpt", **given, **options})


def allowed(attention, position):
  """What the two files say of themselves."""
  supports, scheme = build.resolve("attention", attention).supports, build.resolve("position", position)
  return all(getattr(supports, hook) for hook in HOOKS if scheme.acts(hook))


def test_all_files_are_paired_and_most_pairs_are_allowed():
  assert len(PAIRS) >= 11 * 8
  assert sum(allowed(*pair) for pair in PAIRS) > len(PAIRS) / 2
  assert all(allowed(attention, "sinusoidal") and allowed(attention, "learned") for attention in ATTENTION)


@pytest.mark.parametrize(("attention", "position"), PAIRS)
def test_a_pair_is_built_or_refused_in_one_line(attention, position):
  def made():
    return nnx.eval_shape(lambda: build.model(settings(attention, position), Vocabulary((5,), 5)))

  if allowed(attention, position):
    made()
  else:
    with pytest.raises(Refused, match=build.resolve("attention", attention).__name__) as caught:
      made()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "position"), [pair for pair in PAIRS if allowed(*pair)])
@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_an_allowed_pair_sees_what_it_should(attention, position, kind):
  """Causal: nothing of the future, by gradient. Both ways: all. Finite in bfloat16."""
  model = tiny.realize(lambda: build.model(settings(attention, position, kind=kind), Vocabulary((5,), 5)))
  stack = model.encoder if kind == "bert" else model.decoder
  x_BTM = jnp.asarray(np.random.default_rng(0).normal(size=(1, LENGTH, WIDTH)), jnp.float32)
  weigh_TM = np.random.default_rng(1).normal(size=(LENGTH, WIDTH))  # a plain sum is what the last norm takes away

  def answers(x_BTM):
    return (stack(x_BTM, rows(LENGTH))[0][0] * weigh_TM).sum(-1)

  reach_TS = np.abs(jax.jit(jax.jacobian(answers))(x_BTM)[:, 0]).max(-1)
  assert np.isfinite(reach_TS).all()
  if kind == "gpt":
    assert (reach_TS[np.triu_indices(LENGTH, 1)] == 0).all()
    assert (reach_TS[np.tril_indices(LENGTH)] > 0).all()
  else:
    assert (reach_TS > 0).all()
  assert np.isfinite(stack(x_BTM.astype(jnp.bfloat16), rows(LENGTH))[0].astype(jnp.float32)).all()
