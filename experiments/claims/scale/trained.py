"""The rows of group SCALE that need trained models."""

from experiments.claims.scores import INITS, MECHANISMS
from experiments.protocol.claim import All, Claim, Contrast, Moderated, Trial, greater, interaction

AREA = 0.05  # of the area under the accuracy curve: a delay of a twentieth of the training


def _gap(width: str, scheme: str = "", by: float = AREA) -> Contrast:
  more = f", {scheme}" if scheme else ""
  return greater(f"scaled {width}{more}", f"unscaled {width}{more}", by)


TRAINED = (
  Claim(
    id="SCALE-4",
    document="D2",
    place="D2a-5",
    statement="Training with unscaled attention suffers, the more so the wider the keys.",
    measure="area under the accuracy curve by key width, scaled against unscaled, each at its best rate",
    experiment=Trial(
      MECHANISMS,
      All(
        (
          _gap("128"),
          _gap("512"),
          interaction(("scaled 512", "unscaled 512"), ("scaled 8", "unscaled 8"), AREA, "gap at 512 over gap at 8"),
        )
      ),
    ),
    note="One head, one layer, 300 steps; matched in parameters and steps. It speaks of speed: the area counts how "
    "early the task is learned. Minimum effect: a delay of a twentieth of the training. Other first weights: SCALE-4b.",
  ),
  Claim(
    id="SCALE-4b",
    document="D2",
    place="D2a-5",
    statement="Training with unscaled attention suffers under every initialization, even when its scores start as if "
    "scaled.",
    measure="area under the accuracy curve at key width 128 under three initializations, and with shrunk first "
    "projections",
    experiment=Trial(
      INITS,
      Moderated(
        "initial scores",
        {
          "drawn as usual": All((_gap("128"), _gap("128", "glorot"), _gap("128", "torch"))),
          "as if scaled": greater("scaled 128", "unscaled 128, shrunk", AREA),
        },
        greater("unscaled 128, shrunk", "unscaled 128", AREA),
      ),
    ),
    note="The interaction is what the start alone explains: shrunk first projections against unscaled. What is left is "
    "the size of the updates, which the scale divides, too. Parameters and steps are matched. Every is read as three "
    "initializations; the shrunk start is tried with one of them.",
  ),
  Claim(
    id="SCALE-5c",
    document="D2",
    place="D2a-10",
    statement="Without scaling the largest gradient met in training is much larger, the more so the wider the keys.",
    measure="largest global gradient norm over training before clipping, by key width, each at its best rate",
    experiment=Trial(
      MECHANISMS,
      All(
        (
          Contrast(
            "unscaled over twice scaled, 512",
            {"unscaled 512:grad_norm_max": 1.0, "scaled 512:grad_norm_max": -2.0},
            0.0,
          ),
          interaction(
            ("unscaled 512:grad_norm_max", "scaled 512:grad_norm_max"),
            ("unscaled 8:grad_norm_max", "scaled 8:grad_norm_max"),
            0.5,
            "excess at 512 over excess at 8",
          ),
        )
      ),
    ),
    note="Minimum effect: twice as large at 512; growth of the excess by half the norm at which gradients are clipped. "
    "The largest of 300 steps stands for the 99 % quantile, too, which trials do not store.",
  ),
)
