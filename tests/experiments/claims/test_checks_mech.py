"""The exact checks of the mechanism rows: they pass on our model, fail on a broken one, and agree with torch."""

import importlib
import math

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.claims import grid
from experiments.protocol import assess, catalog, reproduce
from model import heads, language, mask, transformer
from model.attention import dot, mechanism
from model.feedforward import relu
from model.kernels import softmax

ROWS = [claim for claim in catalog.group("MECH") if claim.nature == "exact"]
MODERATED = {"MECH-4", "MECH-8"}  # two cells named beforehand, of which one fails
FIRM = ("shapes", "structure")  # checks of shapes and parts: random numbers play no role


def samples(claim):
  module, function = claim.experiment.run.rsplit(".", 1)
  return getattr(importlib.import_module(f"experiments.claims.{module}"), function)()


def outcome(claim, found) -> str:
  return assess.assess(claim.experiment.test, found, 0.05).outcome


@pytest.mark.parametrize("claim", ROWS, ids=lambda claim: claim.id)
def test_the_check_brings_what_the_row_asks_and_our_model_passes(claim):
  found = samples(claim)
  assert reproduce.names(claim.experiment.test) <= set(found)
  assert all(isinstance(value, float) and math.isfinite(value) for values in found.values() for value in values)
  if not claim.experiment.run.endswith(FIRM):
    assert {len(values) % 9 for values in found.values()} == {0}  # three seeds by three shapes
  assert outcome(claim, found) == ("conditional" if claim.id in MODERATED else "above")


def test_a_check_gives_the_same_numbers_again():
  (claim,) = catalog.select(["MECH-6"])
  assert samples(claim) == samples(claim)


def shortened(call):
  def run(self, x_BTM, memory_BSM, mask, **more):
    y_BTM, cache = call(self, x_BTM, memory_BSM, mask, **more)
    return y_BTM[:, 1:], cache

  return run


def with_residual(call):
  def run(self, x_BTM, memory_BSM, mask, **more):
    y_BTM, cache = call(self, x_BTM, memory_BSM, mask, **more)
    return y_BTM + x_BTM, cache

  return run


def of_all_heads(scores):
  def run(self, q, k, inside=0.0):
    s_BKGTS = scores(self, q, k, inside)
    return s_BKGTS + s_BKGTS.sum(1, keepdims=True)

  return run


def keys_with_values(project):
  def run(self, memory_BSM, positions, scheme):
    k_BSKD, v_BSKD = project(self, memory_BSM, positions, scheme)
    return k_BSKD + v_BSKD, v_BSKD

  return run


def one_ahead(rule):
  def run(self, q, k, mark_BS=None):
    return rule(self, mask.Positions(jnp.asarray(q.pos_BT) + 1, q.segment_BT), k, mark_BS)

  return run


def near(rule):
  return lambda self, q, k, mark_BS=None: jnp.abs(q.pos_BT[:, :, None] - k.pos_BT[:, None, :]) < 2


def itself(rule):
  return lambda self, q, k, mark_BS=None: q.pos_BT[:, :, None] == k.pos_BT[:, None, :]


def pooled(call):
  return lambda self, x_BTM: call(self, x_BTM) + 1e-3 * x_BTM.mean(1, keepdims=True)


def times(factor):
  return lambda function: lambda *args, **more: factor * function(*args, **more)


def everything(causal):
  return mask.everything


SABOTAGE = {
  "MECH-1": (mechanism.Mechanism, "weights", times(1.001)),
  "MECH-2": (heads.Heads, "__call__", shortened),
  "MECH-3": (mask.Everything, "__call__", itself),
  "MECH-4": (heads.Heads, "__call__", with_residual),
  "MECH-5": (dot.Dot, "scores", times(1.01)),
  "MECH-6": (softmax, "mix", times(1.001)),
  "MECH-7": (dot.Dot, "scores", of_all_heads),
  "MECH-8": (heads.Heads, "_keys_values", keys_with_values),
  "MECH-9": (relu.Relu, "__call__", pooled),
  "MECH-10": (mask.Everything, "__call__", near),
  "MECH-11a": (mask.Causal, "__call__", one_ahead),
  "MECH-13": (language.Readout, "__call__", lambda call: lambda self, x: jnp.tanh(call(self, x))),
  "MECH-15": (transformer, "causal", everything),
  "MECH-16": (language.Embedding, "__call__", times(2.0)),
  "MECH-17a": (mask.Everything, "__call__", itself),
}


@pytest.fixture
def fresh(monkeypatch):
  """One shape is enough to see a fault, and nothing compiled before or with the fault may be used again."""
  monkeypatch.setattr(grid, "SHAPES", grid.SHAPES[1:2])
  grid.forget()
  yield monkeypatch
  grid.forget()


def test_every_row_has_its_sabotage():
  assert set(SABOTAGE) == {claim.id for claim in ROWS}


@pytest.mark.parametrize("claim", ROWS, ids=lambda claim: claim.id)
def test_a_broken_mechanism_fails(claim, fresh):
  owner, name, broken = SABOTAGE[claim.id]
  fresh.setattr(owner, name, broken(getattr(owner, name)))
  assert outcome(claim, samples(claim)) == "below"


def test_a_leaking_mask_shows_where_it_leaks(fresh):
  fresh.setattr(mask.Causal, "__call__", one_ahead(mask.Causal.__call__))
  (claim,) = catalog.select(["MECH-11a"])
  found = samples(claim)
  assert min(found["derivative by later tokens in float32"]) > 1e-3
  assert min(found["change of a stack with later tokens"]) > 1e-3


def test_exchange_sees_exactly_the_dependences():
  x_TM, other_TM = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
  (layer,) = next(grid.cases(lambda shape: relu.Relu(3, hidden=5))).modules
  changes_TS = grid.exchanged(shifted, layer, x_TM, other_TM)
  assert (changes_TS > 0).tolist() == (
    np.eye(4, k=-1, dtype=bool) | (np.eye(4, dtype=bool) & (np.arange(4) == 0))
  ).tolist()


def shifted(layer, x_BTM):
  """Each token's answer to the one before it; the first answers itself."""
  return layer(jnp.concatenate([x_BTM[:, :1], x_BTM[:, :-1]], 1))


def test_weights_are_drawn_at_unit_gain():
  widest = grid.Shape(1, 4, 64, 4)
  (layer,) = next(grid.cases(grid.attention, shapes=(widest,))).modules
  for name in ("query", "key", "value", "out"):
    assert np.var(getattr(layer, name)[...]) * 64 == pytest.approx(1.0, rel=0.1)


@pytest.mark.peer
def test_the_quiz_question_in_torch():
  """Its layer has eight heads over (2, 5, 64); it also gives the mean weights, and refuses numbers that do not fit."""
  torch = pytest.importorskip("torch")
  with pytest.raises(AssertionError):
    torch.nn.MultiheadAttention(64, 7, batch_first=True)
  layer = torch.nn.MultiheadAttention(64, 8, batch_first=True, bias=False)
  case = next(grid.cases(grid.attention, shapes=(grid.Shape(2, 5, 64, 8),)))
  (ours,) = case.modules
  with torch.no_grad():
    rows = [grid.kernel(ours, name).reshape(64, 64).T for name in ("query", "key", "value")]
    layer.in_proj_weight.copy_(torch.tensor(np.concatenate(rows)))
    layer.out_proj.weight.copy_(torch.tensor(grid.kernel(ours, "out").reshape(64, 64).T.copy()))
    x_BTM = torch.tensor(case.x_BTM)
    output, averaged = layer(x_BTM, x_BTM, x_BTM)
  y_BTM, w_BKGTS, _ = grid.call(grid.attend, ours, case.x_BTM)
  assert tuple(output.shape) == (2, 5, 64) == y_BTM.shape
  assert tuple(averaged.shape) == (2, 5, 5)
  np.testing.assert_allclose(y_BTM, output.numpy(), atol=1e-5)
  np.testing.assert_allclose(w_BKGTS.mean((1, 2)), averaged.numpy(), atol=1e-6)
