"""Banded attention: the paper's pattern by an oracle, both paths alike, no array of T by S, what is refused."""

import jax
import numpy as np
import pytest

from model.errors import Refused
from model.kernels import tiles
from model.mask import Mask, causal, everything, rows
from tests.model.attention import cases, oracles_sparse, sparse

CASES = {  # rule, options, what the oracle is told
  "causal": (causal(), {"window": 5}, {"widths": [5] * 4}),
  "dilated": (everything(), {"window": 4, "dilation": 3}, {"widths": [4] * 4, "dilation": 3}),
  "globals": (
    causal(),
    {"windows": (2, 9, 5, 1), "dilation": 2, "anchors": (0, 4), "symbols": (1,), "most": 5},
    {"widths": [2, 9, 5, 1], "dilation": 2, "anchors": (0, 4), "symbols": True, "most": 5},
  ),
  "both ways": (everything(), {"window": 3, "anchors": (0,)}, {"widths": [3] * 4, "anchors": (0,)}),
}


def banded(**options):
  return cases.mechanism("banded", sparse.K, sparse.G, head_dim=sparse.D, **options)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_oracle_and_a_shuffled_cache_on_packed_rows(name, monkeypatch):
  if name in ("globals", "dilated"):  # these in several steps
    monkeypatch.setitem(tiles.STEP, "cpu", 2**13)
  rule, options, told = CASES[name]
  made, positions, mark_BT = banded(**options), sparse.packed(85), sparse.marks(85)
  qkv = sparse.vectors(85, made.views)
  pattern, view = oracles_sparse.banded(**told)
  expected = oracles_sparse.attention(
    pattern, *qkv, sparse.rows_of(positions, mark_BT), rule == causal(), sparse.D**-0.5, view
  )
  mark_BT = mark_BT if made.symbols else None
  sparse.check(made, qkv, positions, rule, expected, mark_BT=mark_BT, slopes=name in ("globals", "causal"))


def test_gradients_agree_with_finite_differences(monkeypatch):
  monkeypatch.setitem(tiles.STEP, "cpu", 2**12)
  made = banded(window=6)
  with jax.enable_x64(True):
    qkv = sparse.vectors(70, 1, dtype=np.float64)
    for slope, gradient in sparse.slopes(made, qkv, sparse.packed(70), everything()):
      assert slope == pytest.approx(gradient, rel=1e-5)


class Everywhere(cases.After):
  """Terms in the score, in q.k and in the output."""

  def __init__(self):
    super().__init__(sparse.K * sparse.G)
    self.inner, self.outer = cases.Inside(sparse.D), cases.Values(sparse.D)

  def inside(self, *given):
    return self.inner.inside(*given)

  def values(self, *given):
    return self.outer.values(*given)


def test_position_terms_act_on_tiles_as_on_the_whole():
  made, qkv = banded(windows=(3, 8, 2, 8), anchors=(2,)), sparse.vectors(60, 2)
  sparse.check(made, qkv, sparse.packed(60), causal(), scheme=Everywhere(), slopes=False)


def test_no_array_grows_with_the_square_of_the_row():
  for rule, options in ((causal(), {"window": 5, "dilation": 4}), (everything(), {"window": 20, "anchors": (0,)})):
    made = cases.mechanism("banded", 1, 1, head_dim=4, **options)
    assert sparse.largest(made, 4096, rule) < 4096 * 4096 / 16


def test_a_window_beyond_the_row_is_dot():
  qkv, mask = cases.qkv(2, 2), cases.self_mask(cases.packed())
  plain = cases.run(cases.mechanism("dot", 2, 2), qkv, mask)
  for ours, theirs in zip(cases.run(cases.mechanism("banded", 2, 2, window=16), qkv, mask), plain, strict=True):
    sparse.close(ours, theirs)


def test_each_layer_has_its_window_and_the_last_one_lasts():
  make = lambda layer: cases.build.make(  # noqa: E731
    "attention", {"kind": "banded", "layers": (3, 7)}, heads=1, head_dim=4, layer=layer
  )
  for layer, width in ((0, 3), (1, 7), (4, 7)):
    made = cases.realize(lambda layer=layer: make(layer))
    positions = rows(12)
    seen = np.asarray(made.own_mask(Mask(positions, positions, everything())).tile())[0]
    assert seen[6].sum() == min(12, 2 * width - 1)


def test_weights_are_those_of_the_output():
  made, positions = banded(windows=(1, 4, 2, 3), anchors=(3,)), sparse.packed(40)
  q, k, v = (tuple(side) for side in sparse.vectors(40, 2))
  mask = Mask(positions, positions, everything())
  weights, out = jax.jit(lambda q, k, v: (made.weights(q, k, mask), made.over_cache(q, k, v, mask)[0]))(q, k, v)
  is_global_BT = (positions.pos_BT == 3) & (positions.segment_BT > 0)
  mixed = [np.einsum("bkgts,bskd->btkgd", weights, side) for side in v]
  sparse.close(np.where(is_global_BT[:, :, None, None, None], mixed[1], mixed[0]), out)


@pytest.mark.parametrize(
  "options",
  [
    {"window": 0},
    {"windows": (4, 4, 4)},
    {"windows": (4, 0, 4, 4)},
    {"layers": (0,)},
    {"windows": (1, 2, 3, 4), "layers": (3,)},
    {"dilation": 0},
    {"anchors": (-1,)},
    {"symbols": (-2,)},
    {"most": 0},
    {"anchors": (0, 1, 2), "most": 2},
  ],
  ids=str,
)
def test_what_is_out_of_range_is_refused_in_one_line(options):
  with pytest.raises(Refused, match=f"attention.{next(iter(options))}|attention.most") as caught:
    cases.build.make("attention", {"kind": "banded", **options}, heads=4, head_dim=4)
  assert "\n" not in str(caught.value)


def test_symbols_without_marks_are_refused():
  made, positions = banded(symbols=(1,)), sparse.packed(40)
  with pytest.raises(Refused, match="mark_BS"):
    made(*(tuple(side) for side in sparse.vectors(40, 2)), Mask(positions, positions, causal()))
