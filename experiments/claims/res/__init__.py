"""Residual connections: gradients, convergence, and what a block does without its sublayer."""

from experiments.claims.depth import BUDGET, DEPTH
from experiments.protocol.claim import All, Bound, Check, Claim, Contrast, Moderated, Trial, greater, interaction

_PER_LAYER = 0.1  # of log |gradient|: a factor of three over twelve layers
_ALIKE = 0.1  # of a cosine
_SOONER = 1.1  # times: a tenth more time
_FLOAT = 1e-5


def _vanishing(norm: str) -> Contrast:
  name = f"vanishing, {norm}, without less with residual"
  return greater(f"vanishing, {norm}, without", f"vanishing, {norm}, with", _PER_LAYER, name)


def _alike(norm: str) -> Contrast:
  return greater(
    f"alike, {norm}, without", f"alike, {norm}, with", _ALIKE, f"alike, {norm}, without less with residual"
  )


def _time(depth: int, measure: str) -> Contrast:
  """Time without residual less 1.1 times that with it."""
  name = f"{measure}, {depth} layers: without residual less {_SOONER} times with"
  return Contrast(name, {f"pre, {depth}, no residual:{measure}": 1.0, f"pre, {depth}:{measure}": -_SOONER})


def _by_depth(measure: str) -> Moderated:
  gains = [(f"pre, {depth}, no residual:{measure}", f"pre, {depth}:{measure}") for depth in (6, 2)]
  return Moderated(
    "layers",
    {"6": _time(6, measure), "2": _time(2, measure)},
    interaction(gains[0], gains[1], BUDGET / 10, "steps gained with 6 layers less with 2"),
  )


_SILENT = "silent block less its input"
_SLOPE = "slope of the block less 1 and that of f"

CLAIMS = (
  Claim(
    id="RES-1",
    document="D1",
    place="D1-15; D2a-4",
    statement="Residual connections counter vanishing gradients in deep stacks.",
    nature="empirical",
    measure="how fast the log of the loss gradient's norm at the input falls with depth, at initialization, by norm "
    "placement",
    experiment=Check(
      "res.checks.gradients",
      Moderated(
        "normalization",
        {"absent": _vanishing("none"), "present": All((_vanishing("pre"), _vanishing("post")))},
        interaction(
          ("vanishing, none, without", "vanishing, none, with"),
          ("vanishing, pre, without", "vanishing, pre, with"),
          _PER_LAYER,
          "without norm less with the norm before",
        ),
      ),
      tiers=("small",),
    ),
    note="2 to 24 layers of width 32, drawn by glorot, on a batch of recall; slope by least squares, natural log per "
    "layer, minimum .1. Vanishing is a slope below 0 and exploding, which NORM-3 judges, one above. Weight-gradient "
    "ratios between first and last layer are blind to this: the input's gradient is used.",
  ),
  Claim(
    id="RES-1b",
    document="extension",
    place="D1-15; D2a-4",
    statement="Residual connections keep the tokens of a deep stack from growing alike.",
    nature="empirical",
    measure="mean cosine between the states of two tokens above twelve layers, at initialization, without less with "
    "residual",
    experiment=Check(
      "res.checks.gradients",
      Moderated(
        "norm placement",
        {"before the sublayer": _alike("pre"), "after it": _alike("post")},
        interaction(
          ("alike, pre, without", "alike, pre, with"),
          ("alike, post, without", "alike, post, with"),
          _ALIKE,
          "norm before less norm after",
        ),
      ),
      tiers=("small",),
    ),
    note="The other reason to have them: tokens that are all alike cannot be told apart any more, whatever the "
    "gradient (Dong et al. 2021, from memory). Minimum: .1 of a cosine.",
  ),
  Claim(
    id="RES-2",
    document="D2",
    place="D2a-4",
    statement="Residual connections make training converge sooner.",
    measure="restricted mean time to 90 % accuracy with 6 layers and with 2",
    experiment=Trial(DEPTH, _by_depth("t90_restricted")),
    note="Recall in rows of eight tokens, norm before the sublayer, equal parameters and steps, each arm at its best "
    f"rate. Minimum: a tenth more time without. A run that never arrives counts as its budget of {BUDGET} steps: with "
    "6 layers none without residuals arrived on tuning seeds.",
  ),
  Claim(
    id="RES-3",
    document="D1",
    place="D1-15",
    statement="Adding each sublayer's input to its output makes training more stable.",
    measure="restricted mean time to 90 % accuracy, averaged over a common window of learning rates, with 6 layers and "
    "with 2",
    experiment=Trial(DEPTH, _by_depth("window")),
    note="Stable: it trains without a rate made for it, from 1e-3 to 1e-2; a rate at which a run never arrives counts "
    f"as the whole budget of {BUDGET} steps. Minimum: a tenth more time without. Norm before the sublayer.",
  ),
  Claim(
    id="RES-4",
    document="D1",
    place="D1-15; D2a-4",
    statement="A residual block returns its input plus what the sublayer computes from it.",
    measure="difference from the identity with the sublayer zeroed; derivative less 1 and that of the sublayer",
    experiment=Check(
      "res.checks.block",
      All(
        tuple(Bound(f"{norm}: {what}", -_FLOAT, _FLOAT) for norm in ("pre", "post") for what in (_SILENT, _SLOPE))
        + tuple(Bound(f"{norm}: slope of f", 1e-3) for norm in ("pre", "post"))
      ),
      identity=True,
    ),
    note="One sublayer of attention. With the norm after it the sum is normalized next: there input and sum are "
    "compared after the norm. Derivatives along a random direction.",
  ),
)
