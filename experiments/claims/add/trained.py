"""The rows of group ADD that need trained models."""

from experiments.claims.scores import EVENNESS, GAIN, MECHANISMS, QUALITY, TASKS
from experiments.protocol.claim import (
  All,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Probe,
  Trial,
  greater,
  interaction,
)

AREA = 0.05  # of the area under the accuracy curve: a delay of a twentieth of the training
NATS = 0.05  # of the loss
_BRITZ = (
  Literature(
    "22.03; 22.33; 21.78; 18.22", "BLEU, unscaled dot at 128; 256; 512; 1024", "Britz et al. 2017", checked=True
  ),
  Literature("22.23; 22.33; 22.47; 22.10", "BLEU, additive at 128; 256; 512; 1024", "Britz et al. 2017", checked=True),
)
EVEN = 0.08  # of the entropy as a share of its most: a quarter more keys in effect, log 1.25 / log 16
SCALE = "scale of the dot products"


def _gains(kind: str) -> Contrast:
  """Additive less dot, at key width 128 less at 8."""
  wide, narrow = (("additive 128", f"{kind} 128"), ("additive 8", f"{kind} 8"))
  return interaction(wide, narrow, AREA, f"additive over {kind} dot, 128 less 8")


def _better(kind: str) -> Contrast:
  """Loss of additive less that of dot products, mean over the grid."""
  cells = [f"{width}, {task}" for task in TASKS for width in (8, 128)]
  weights = {f"additive {cell}": 1 / len(cells) for cell in cells} | {
    f"{kind} {cell}": -1 / len(cells) for cell in cells
  }
  return Contrast(f"loss of additive over {kind} dot", weights, NATS)


def _reading(arm: str, key: str = "entropy_normalized") -> str:
  return f"{arm}, torch:probe.entropy.{key}"


def _evener(width: int) -> All:
  """At one step and at one loss: more entropy and less mass on the key that was asked for."""
  additive, scaled = f"additive {width}", f"scaled {width}"
  equal = greater(f"{additive}, torch:loss", f"{scaled}, torch:loss", 0.0, f"loss of additive less scaled, {width}")
  untrained = greater(f"{additive}, torch:initial_loss", f"{scaled}, torch:loss", 0.0, "first loss less last")
  parts = (
    greater(_reading(additive), _reading(scaled), EVEN, f"entropy, additive over scaled, {width}"),
    greater(
      _reading(scaled, "true_key_mass"),
      _reading(additive, "true_key_mass"),
      0.05,
      f"mass on the asked key, scaled over additive, {width}",
    ),
    Equivalent(equal, NATS, untrained),
  )
  return All(parts)


TRAINED = (
  Claim(
    id="ADD-4",
    document="D4",
    place="D4a-3",
    statement="The wider the keys, the more additive attention gains on dot-product attention.",
    measure="interaction of mechanism and key width on area under the accuracy curve, against unscaled and scaled dot",
    experiment=Trial(
      MECHANISMS,
      Moderated(
        SCALE,
        {"unscaled": _gains("unscaled"), "scaled": _gains("scaled")},
        interaction(("scaled 128", "unscaled 128"), ("scaled 8", "unscaled 8"), AREA, "unscaled less scaled cell"),
      ),
    ),
    contradicts=("ADD-5", "ADD-6a", "ADD-6b"),
    literature=_BRITZ,
    note="One head, same projections, steps and rates offered; matched in parameters but for v and b of additive "
    "scores. Additive v starts at deviation d^-1/2, so its scores do not grow with the width; with unit v they would.",
  ),
  Claim(
    id="ADD-5",
    document="D4",
    place="D4b-2",
    statement="Dot-product attention usually gives better results than additive attention.",
    measure="test loss, mean over a grid of key widths and tasks fixed beforehand, on tasks not learned to the end",
    experiment=Trial(
      QUALITY,
      Moderated(
        SCALE,
        {"scaled": _better("scaled"), "unscaled": _better("unscaled")},
        Contrast(
          "loss of unscaled over scaled dot",
          {
            f"{kind} {width}, {task}": sign / 4
            for kind, sign in (("unscaled", 1.0), ("scaled", -1.0))
            for width in (8, 128)
            for task in TASKS
          },
          NATS,
        ),
      ),
    ),
    contradicts=("ADD-4",),
    literature=(
      *_BRITZ,
      Literature("6.25; 6.27", "validation loss, Bahdanau; Luong, one run", "tensor2tensor PR 377", checked=True),
    ),
    note="Usually is read as the mean over the grid: key width 8 and 128 by recall with many symbols and in a narrow "
    "model. Quality at the end of 300 steps, each arm at the rate with the least loss. Speed is ADD-5b.",
  ),
  Claim(
    id="ADD-5b",
    document="extension",
    place="D4b-2",
    statement="Scaled dot-product attention learns recall faster than additive attention.",
    measure="area under the accuracy curve at key width 8, under two initializations",
    experiment=Trial(
      MECHANISMS,
      Moderated(
        "first query and key weights",
        {
          "lecun": greater("scaled 8", "additive 8", 0.02),
          "torch": greater("scaled 8, torch", "additive 8, torch", 0.02),
        },
        interaction(
          ("scaled 8, torch", "additive 8, torch"), ("scaled 8", "additive 8"), 0.02, "torch less lecun cell"
        ),
      ),
    ),
    note="torch draws queries and keys with a third of lecun's variance. The moderator was seen on tuning seeds and "
    "named before the reporting seeds ran. Minimum effect: six of 300 steps.",
  ),
  Claim(
    id="ADD-6b",
    document="D4",
    place="D4b-2",
    statement="After training additive attention still spreads its weights more evenly than dot-product attention.",
    measure="normalized entropy and mass on the right key, at equal step and at equal loss",
    experiment=Probe(
      EVENNESS,
      Moderated(
        "key width",
        {"8": _evener(8), "128": _evener(128)},
        interaction(
          (_reading("additive 8"), _reading("scaled 8")),
          (_reading("additive 128"), _reading("scaled 128")),
          EVEN,
          "excess entropy at 8 less at 128",
        ),
      ),
    ),
    contradicts=("ADD-4",),
    note="Against scaled dot. With torch's first weights both end their 300 steps at one loss, which is tested "
    "(margin .05 nat): the comparison is at equal step and at equal loss at once.",
  ),
  Claim(
    id="ADD-9",
    document="D4",
    place="D4b-2",
    statement="Additive attention does worse because its weights are too even.",
    measure="gap to scaled dot with and without a gain that brings the entropy of additive scores to that of dot",
    experiment=Trial(
      GAIN,
      All(
        (
          greater("scaled 8, torch", "additive 8, torch", 0.02, "gap to scaled dot"),
          Contrast(
            "closed beyond half of the gap",
            {"additive 8, torch, gain 4": 1.0, "additive 8, torch": -0.5, "scaled 8, torch": -0.5},
            0.0,
          ),
        )
      ),
    ),
    note="Key width 8 and torch's first weights, where the tuning seeds show a gap. Gain 4 is the least of 1, 2, 4, 8 "
    "that brought the entropy after training within .08 of scaled dot's there. v is trained, so that a learned gain is "
    "part of every arm.",
  ),
)
