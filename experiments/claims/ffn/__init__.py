"""The feed-forward network: what it is for, its order, its activation function."""

from experiments.claims.ffn import published
from experiments.claims.ffn.studies import MOD_SUM, ORDERS
from experiments.protocol.claim import (
  All,
  Bound,
  Check,
  Citation,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Trial,
  greater,
)

_ACCURACY = 0.2
_AREA = 0.05  # of the area under the accuracy curve: a delay of a twentieth of the training


def _worth(other: str) -> Contrast:
  return greater("ReLU, modulo 16:accuracy", f"{other}, modulo 16:accuracy", _ACCURACY)


_TO_2020, _SINCE = "share with plain ReLU or GELU, to 2020", "share with plain ReLU or GELU, since 2021"

CLAIMS = (
  Claim(
    id="FFN-1",
    document="extension",
    place="D2a-6",
    statement="ReLU and GELU lead to the same quality.",
    measure="difference in mean accuracy over training inside a margin, with a known worse arm outside it",
    experiment=Trial(
      MOD_SUM,
      Equivalent(
        greater("ReLU, 1", "GELU, 1", 0.0, "ReLU less GELU"),
        _AREA,
        greater("ReLU, 1", "identity, 1", 0.0, "ReLU less identity"),
      ),
    ),
    literature=(Literature("small gains of gated units over both", "", "Shazeer 2020; Narang et al. 2021"),),
    note="Nobody stated this; the documents' convention is FFN-4a. Sums modulo 8, one layer, each at its best rate; "
    "mean accuracy over 160 steps is off its ceiling. Margin: a twentieth of it. Known worse: the identity.",
  ),
  Claim(
    id="FFN-2",
    document="D1",
    place="D1-14",
    statement="After attention a feed-forward network processes the result further: it computes what attention alone "
    "cannot.",
    measure="accuracy on the modular sum of two attended values, against a linear network of equal size and wider "
    "attention",
    experiment=Trial(MOD_SUM, All(tuple(_worth(other) for other in ("none", "identity", "wide attention")))),
    note="One layer, against no network, a linear one of equal size, and heads twice as wide that spend its parameters."
    " Sums modulo 16, minimum: a fifth of accuracy after 400 steps. Modulo 8 the linear network, too, learned much of"
    " the sum on tuning seeds: attention's weights depend on its input, so that it is not linear either.",
  ),
  Claim(
    id="FFN-3",
    document="extension",
    place="D1-14",
    statement="Placing the feed-forward network after attention, rather than before or beside it, matters for quality.",
    measure="mean accuracy over training of the usual order less the mean of three others, two layers, equal "
    "parameters",
    experiment=Trial(
      MOD_SUM,
      Contrast(
        "after attention over the mean of the other orders",
        {"ReLU, 2": 1.0} | {f"ReLU, 2, {order}": -1 / len(ORDERS) for order in ORDERS},
        _AREA,
      ),
    ),
    literature=(
      Literature("sandwich of sublayers", "order", "Press et al. 2020, seen in public notes on GitHub", checked=True),
    ),
    note="The documents give the usual order as a convention and claim nothing about other orders. Read as: the usual "
    "order does better by a twentieth, which is one side of matters. Others, taken in their mean: before, beside "
    "(parallel), two of attention then two of network; sums modulo 8.",
  ),
  Claim(
    id="FFN-4a",
    document="D2",
    place="D2a-6",
    statement="Published Transformers usually put ReLU or GELU between the two layers.",
    measure="share of published models with plain ReLU or GELU, by date",
    experiment=Citation(
      published.PUBLISHED,
      {_TO_2020: (published.share(2017, 2020),), _SINCE: (published.share(2021, 2025),)},
      Moderated(
        "year of publication",
        {"to 2020": Bound(_TO_2020, low=0.5), "since 2021": Bound(_SINCE, low=0.5)},
      ),
    ),
    literature=(
      Literature(
        "gated units do better", "", "Shazeer 2020, abstract seen in copies of its text on GitHub", checked=True
      ),
    ),
    note="Usually: every second model. A gated unit has three matrices and counts as another kind, whatever its "
    "non-linearity; a squared ReLU, too. The table says which lines were looked up; which families stand in it moves "
    "the shares.",
  ),
  Claim(
    id="FFN-4b",
    document="extension",
    place="D2a-6",
    statement="Some non-linearity is needed: with the identity in its place the two layers collapse into one matrix.",
    measure="accuracy on the modular sum, ReLU less identity at equal parameters; exact linearity is FFN-4c",
    experiment=Trial(MOD_SUM, _worth("identity")),
    note="One layer, sums modulo 16, minimum: a fifth of accuracy after 400 steps; modulo 8 both learned much of it"
    " on tuning seeds. That the matrices collapse is FFN-4c; this asks whether a model misses what is lost.",
  ),
  Claim(
    id="FFN-4c",
    document="extension",
    place="D2a-6",
    statement="Without a non-linearity the two layers are one affine map; with ReLU or GELU they are none.",
    measure="what the best affine map leaves of the network's output, as a share of it",
    experiment=Check(
      "ffn.checks.collapse",
      All(
        (
          Bound("identity: left by one matrix", high=1e-5),
          Bound("ReLU: left by one matrix", 0.1),
          Bound("GELU: left by one matrix", 0.1),
        )
      ),
      identity=True,
    ),
    note="With the identity the map is the product of the two matrices; else the best one by least squares.",
  ),
)
