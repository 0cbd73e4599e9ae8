"""The rows of group SCALE on the softmax and its gradient, without training."""

from experiments.protocol.claim import All, Check, Claim, Contrast, Equivalent, Moderated, greater, slope

WIDTHS = (8, 32, 128, 512, 1024)
OCTAVES = (3.0, 5.0, 7.0, 9.0, 10.0)
TWICE = 1.0  # log2


def _falls(measure: str) -> Contrast:
  """Falls with the key width at least as fast as one over its square root."""
  samples = tuple(f"{measure}, unscaled, {width}" for width in WIDTHS)
  rises = slope(samples, OCTAVES, 0.0, "")
  return Contrast(f"fall of {measure} per doubling", {name: -weight for name, weight in rises.weights.items()}, 0.5)


def _steady(measure: str, margin: float) -> All:
  """The same at every key width as at 8, with the scale; without it not."""
  return All(
    tuple(
      Equivalent(
        greater(f"{measure}, scaled, {width}", f"{measure}, scaled, 8", 0.0, f"{measure}, scaled, 8 to {width}"),
        margin,
        greater(f"{measure}, unscaled, {width}", f"{measure}, unscaled, 8", 0.0, f"{measure}, unscaled, 8 to {width}"),
      )
      for width in WIDTHS[1:]
    )
  )


def _larger(measure: str, what: str) -> All:
  """Without the scale the gradient is twice as large at size 512, and the ratio grows from size 8 on."""
  small, large = (f"{measure} ratio, {what} {size}" for size in (8, 512))
  return All((Contrast(f"{large} (log2)", {large: 1.0}, TWICE), greater(large, small, 0.5, f"{large} over {what} 8")))


SOFTMAX = (
  Claim(
    id="SCALE-2",
    document="D2",
    place="D2a-10; D4a-4",
    statement="Without scaling, large scores push the softmax to where its gradient is tiny.",
    measure="median softmax Jacobian norm, share below 1e-3 and upper tail against key width",
    experiment=Check(
      "scale.checks.saturation",
      All(
        (
          _falls("log2 median norm"),
          Contrast("share at width 512", {"share of norms below .001, unscaled, 512": 1.0}, 0.25),
        )
      ),
    ),
    contradicts=("SCALE-5",),
    note="16 keys. The mean alone misleads: it is set by the few undecided rows while the median collapses. The upper "
    "tail is SCALE-2b, the gradient that reaches the query SCALE-5.",
  ),
  Claim(
    id="SCALE-2b",
    document="extension",
    place="D2a-10; D4a-4",
    statement="Without scaling even the hundredth of rows with the largest softmax gradient loses it as keys widen.",
    measure="99 % quantile of the softmax Jacobian norm against key width",
    experiment=Check("scale.checks.saturation", _falls("log2 99 % norm")),
    note="The tail apart from the median: the same minimum effect as in SCALE-2.",
  ),
  Claim(
    id="SCALE-3",
    document="D2",
    place="D2a-5; D2a-10; D4a-4",
    statement="Dividing by the square root of the key width relieves saturation and keeps gradients stable.",
    measure="softmax entropy and Jacobian norm across key widths, with scaling",
    experiment=Check("scale.checks.saturation", All((_steady("entropy", 0.14), _steady("log2 median norm", 0.1)))),
    note="Margins: a twentieth of log 16 for the entropy, 7 % for the norm. The unscaled softmax is the known "
    "difference. Independent unit entries; in training see SCALE-5c.",
  ),
  Claim(
    id="SCALE-5",
    document="D2",
    place="D2a-10",
    statement="Scaling prevents exploding gradients, above all with large input dimensions.",
    measure="mean and median gradient at the query, varying key width, and key and model width together",
    experiment=Check(
      "scale.checks.gradients",
      Moderated(
        "which gradient of a layer as drawn",
        {
          "the mean and the largest hundredth": All(
            tuple(_larger(measure, what) for measure in ("mean", "99 %") for what in ("key width", "both"))
          ),
          "the median": All(tuple(_larger("median", what) for what in ("key width", "both"))),
        },
        greater("mean ratio, key width 512", "median ratio, key width 512", TWICE, "mean over median at 512 (log2)"),
      ),
    ),
    contradicts=("SCALE-2",),
    note="Ratio of the gradient at the query without over with the scale, as a power of two; it must reach twice at "
    "512 and grow by the root of two from 8 on. Model width alone: SCALE-5b; in training: SCALE-5c.",
  ),
  Claim(
    id="SCALE-5b",
    document="D2",
    place="D2a-10",
    statement="Scaling keeps gradients from exploding the more, the wider the input is at one and the same key width.",
    measure="mean and 99 % quantile of the gradient at the query, model width from 64 to 1024 at key width 64",
    experiment=Check(
      "scale.checks.gradients",
      All(
        tuple(
          greater(f"{measure} ratio, model width 1024", f"{measure} ratio, model width 64", 0.5)
          for measure in ("mean", "99 %")
        )
      ),
    ),
    note="The dimension read as the width of the input rather than of the keys; same minimum growth as in SCALE-5.",
  ),
)
