"""Layer normalization: its statistics, its effect on training and gradients, its placement."""

from experiments.claims.depth import BUDGET, DEPTH, SHORT, WARM_UP
from experiments.protocol.claim import All, Bound, Check, Claim, Contrast, Literature, Moderated, Trial, greater

_PER_LAYER = 0.1  # of log |gradient|: a factor of three over twelve layers
_SOONER = 1.1  # times: a tenth more time
_NATS = 0.1
_FLOAT = 1e-5


def _fixed(when: str, where: str) -> All:
  """Mean 0 and variance 1; what eps takes from the variance is allowed for."""
  name = f"{when}, {where} gain and bias"
  return All((Bound(f"{name}: mean", high=_FLOAT), Bound(f"{name}: variance less 1", high=1e-3)))


def _steadier_and_faster(bare: str) -> All:
  """Time without norm less 1.1 times that with it, tuned and over the window of rates, for both placements."""
  return All(
    tuple(
      Contrast(
        f"{measure}: {bare} less {_SOONER} times {norm}", {f"{bare}:{measure}": 1.0, f"{norm}:{measure}": -_SOONER}
      )
      for norm in ("pre, 6", "post, 6")
      for measure in ("t90_restricted", "window")
    )
  )


def _flatter(norm: str, residual: str) -> Contrast:
  name = f"size of the slope {residual} residual, none less {norm}"
  return greater(f"size, none, {residual}", f"size, {norm}, {residual}", _PER_LAYER, name)


_SUM = "distance from normalizing the sum"
_GAIN_OF_WARM_UP = Contrast(
  "loss saved by warm-up, norm after less norm before",
  {
    "post, constant:window": 1.0,
    "post, warm-up:window": -1.0,
    "pre, constant:window": -1.0,
    "pre, warm-up:window": 1.0,
  },
  _NATS,
)

CLAIMS = (
  Claim(
    id="NORM-1",
    document="D2",
    place="D2a-7",
    statement="Layer normalization gives every layer's output a fixed mean and variance.",
    measure="mean and variance of each token's features, before and after gain and bias, at start and after training",
    experiment=Check(
      "norm.checks.statistics",
      Moderated(
        "where the layer's output is taken",
        {
          "before gain and bias": All((_fixed("at start", "before"), _fixed("trained", "before"))),
          "after them": All((_fixed("at start", "after"), _fixed("trained", "after"))),
        },
      ),
    ),
    note="Trained: 50 steps of gradient descent towards random targets. Gain and bias start at 1 and 0, which change "
    "nothing.",
  ),
  Claim(
    id="NORM-2",
    document="D1",
    place="D1-16; D2a-7",
    statement="Layer normalization makes training steadier and faster.",
    measure="restricted mean time to 90 % accuracy, at the best rate and over a window of rates, none against post and "
    "pre",
    experiment=Trial(
      DEPTH,
      Moderated(
        "first weights of the model without norm",
        {
          "drawn as usual": _steadier_and_faster("none, 6"),
          "scaled down with depth": _steadier_and_faster("none, 6, scaled"),
        },
        greater(
          "none, 6:window", "none, 6, scaled:window", BUDGET / 10, "time without norm, usual less scaled weights"
        ),
      ),
    ),
    contradicts=("NORM-5",),
    note=f"Six layers with residuals. Minimum: a tenth more time without; never is {BUDGET} steps. Scaled: the last "
    "matrix of every sublayer times depth^-1/2, as Fixup and ReZero do more finely; it separates the norm from mere "
    "scale. The window leaves out the highest rate of the grid.",
  ),
  Claim(
    id="NORM-3",
    document="D2",
    place="D2a-7",
    statement="Layer normalization lowers the risk that gradients vanish or explode.",
    nature="empirical",
    measure="size of the slope of the log gradient norm at the input over depth, at initialization, by placement and "
    "residual",
    experiment=Check(
      "res.checks.gradients",
      All(tuple(_flatter(norm, residual) for residual in ("with", "without") for norm in ("pre", "post"))),
      tiers=("small",),
    ),
    contradicts=("NORM-5",),
    literature=(
      Literature("post-LN is a source of vanishing gradients", "", "Takase et al. 2022, abstract", checked=True),
      Literature(
        "O(d sqrt(ln d)) against O(d sqrt(ln d / L))",
        "last-layer gradient, post; pre",
        "Xiong et al. 2020, Theorem 1, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="Size counts vanishing and exploding alike; which of them it is, RES-1 tells. Minimum .1, natural log per "
    "layer. 2 to 24 layers before any training. Other first weights: NORM-3b.",
  ),
  Claim(
    id="NORM-3b",
    document="extension",
    place="D2a-7",
    statement="First weights scaled down with depth keep gradients from vanishing or exploding without any "
    "normalization.",
    nature="empirical",
    measure="size of the slope of the log gradient norm at the input over depth, with usual and with scaled first "
    "weights",
    experiment=Check(
      "res.checks.gradients",
      All(
        (
          greater("size, none, with", "size, none, with, shrunk", _PER_LAYER, "size, usual less scaled weights"),
          Contrast("size with scaled weights, below .1", {"size, none, with, shrunk": -1.0}, -_PER_LAYER),
        )
      ),
      tiers=("small",),
    ),
    note="With residuals; the last matrix of every sublayer times depth^-1/2.",
  ),
  Claim(
    id="NORM-4",
    document="extension",
    place="D1-16; D2b-1",
    statement="Learning-rate warm-up gains more with normalization after the sublayer than before it.",
    measure="interaction of warm-up and placement on loss averaged over a common window of learning rates",
    experiment=Trial(WARM_UP, _GAIN_OF_WARM_UP),
    literature=(
      Literature("pre-LN trains without the warm-up stage", "", "Xiong et al. 2020, abstract", checked=True),
      Literature(
        "8.45 against about 34",
        "BLEU IWSLT14 De-En, post-LN without; with warm-up",
        "Xiong et al. 2020, 3.2, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note=f"Crosses two documents' statements, neither of which makes this one. Two layers, warm-up over {SHORT // 4} "
    f"of {SHORT} steps, rates 2e-2 to 8e-2: on tuning seeds from one at which both placements train without it to one "
    "at which neither does. Minimum: .1 nat. At higher rates warm-up serves the norm before the sublayer, too. Gains "
    "are differences of the loss itself: in shares of the loss, or over another window, their order may be another.",
  ),
  Claim(
    id="NORM-5",
    document="D1",
    place="D1-16; D2a-7",
    statement="What layer normalization normalizes is the output of the sublayer.",
    measure="the tensor each placement normalizes: the sum after the sublayer, or the sublayer's input",
    experiment=Check(
      "norm.checks.placement",
      Moderated(
        "placement",
        {"after the sublayer": Bound(f"post: {_SUM}", high=_FLOAT), "before it": Bound(f"pre: {_SUM}", high=_FLOAT)},
      ),
    ),
    contradicts=("NORM-2", "NORM-3"),
    note="An inspection. The output is read as its sum with the input, as Vaswani et al. 2017 write it; what the "
    "sublayer gives by itself is normalized by neither placement.",
  ),
)
