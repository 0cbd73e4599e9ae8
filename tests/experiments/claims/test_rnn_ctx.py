"""Checks and benches of recurrent networks, tied projections and context lengths: each number by another way."""

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.bench import models, span
from experiments.claims import g2p
from experiments.claims.ctx import checks as ctx
from experiments.claims.qk import checks as qk
from experiments.claims.rnn import checks as rnn
from experiments.claims.rnn import studies as _rnn_studies
from experiments.protocol.study import point
from model import build
from model.vocabulary import Vocabulary
from train.step import parameters


def test_tied_scores_are_symmetric_and_separate_ones_are_not():
  samples = qk.shared()
  assert max(samples["asymmetry"]) < 1e-5
  assert min(samples["asymmetry of separate"]) > 0.1
  assert min(samples["weight on itself"]) > 1.1


def test_the_slope_of_a_known_decay():
  distance_T = np.arange(rnn.LENGTH)[::-1]
  assert rnn.slope(np.exp(-0.3 * distance_T)) == pytest.approx(-0.3)
  assert rnn.slope(np.ones(rnn.LENGTH)) == pytest.approx(0.0)
  assert np.isfinite(rnn.slope(np.zeros(rnn.LENGTH)))


def test_only_a_learned_table_ends():
  samples = rnn.lengths()
  assert set(samples["recurrent"]) == {1.0}
  assert samples["attention with a learned table"] == [0.0]
  assert samples["attention with sinusoids"] == [1.0]


def test_a_scan_equals_the_steps():
  samples = rnn.scan()
  assert max(samples["largest difference"]) < 1e-5
  assert samples["rounds over tokens"][0] == 7 / 128


def test_a_layer_costs_what_the_formula_says():
  """Scores and their use: 2 n^2 M multiplications each, twice as many operations, and a softmax per head."""
  samples = ctx.operations()
  assert max(samples["residual"]) < 1e-9
  for share, (width, heads) in zip(samples["quadratic coefficient over 4M"], ctx.SETTINGS, strict=True):
    assert 1.0 < share < 1.0 + 10 * heads / (4 * width)
  for linear, (width, _) in zip(samples["linear coefficient"], ctx.SETTINGS, strict=True):
    assert 24 * width**2 < linear < 26 * width**2  # projections 8 M^2, feed-forward 16 M^2, norms


def test_the_longest_row_that_fits():
  assert span._fits([2.0**20, 2.0**22], [1024, 2048]) == pytest.approx(2048 * 16)  # quadratic: 256 times the memory


@pytest.mark.parametrize("width", models.WIDTHS)
def test_compared_layers_have_equal_parameters(width):
  counts = []
  for options in models.KINDS.values():
    settings = models._settings(options, width)
    abstract = nnx.eval_shape(lambda settings=settings: build.model(settings, Vocabulary((16,), 16)))
    counts.append(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param))))
  assert counts[0] == pytest.approx(counts[1], rel=0.03)


def _parameters(study, tier, arm):
  config = point(study, tier, arm, lr=1e-3, seed=0, split="validation")
  return parameters(config, build.make("tasks", config["task"], package="train"))


def test_studies_compare_models_of_equal_size():
  attention, lstm = (_parameters(_rnn_studies.LAG, "small", f"{name}, lag 64") for name in ("attention", "LSTM"))
  assert attention == pytest.approx(lstm, rel=0.05)
  sizes = {arm: _parameters(g2p.RECURRENT, "long", arm) for arm in g2p.RECURRENT.arms}
  assert max(sizes.values()) < 1.05 * min(sizes.values()), sizes
