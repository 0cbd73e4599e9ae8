"""Separate query, key and value projections, against shared ones."""

from experiments.claims.qk import studies
from experiments.protocol.claim import All, Bound, Check, Claim, Literature, Moderated, Trial, greater, interaction

CLAIMS = (
  Claim(
    id="QK-1",
    document="D4",
    place="D4a-2",
    statement="Separate query and key matrices project into different spaces, which makes attention more expressive.",
    measure="accuracy on an asymmetric relation, separate against shared, at equal width and at equal parameters",
    experiment=Trial(
      studies.RELATION,
      Moderated(
        "symmetry of the relation",
        {
          "asymmetric": All(
            (
              greater("separate", "shared, others", by=0.1, name="separate over shared, equal width"),
              greater(
                "separate, half as wide", "shared, others", by=0.1, name="separate over shared, equal parameters"
              ),
            )
          ),
          "symmetric": greater("separate, symmetric", "shared, others, symmetric", by=0.1, name="separate over shared"),
        },
        interaction(
          ("separate", "shared, others"),
          ("separate, symmetric", "shared, others, symmetric"),
          by=0.1,
          name="asymmetric less symmetric",
        ),
      ),
    ),
    note="No positions: rotary ones would keep shared scores symmetric, T5 and Shaw biases would not. Self is masked in"
    " both arms; with self visible sharing costs more (arm shared).",
  ),
  Claim(
    id="QK-2",
    document="D4",
    place="D4a-2",
    statement="Separate query and key matrices improve generalization.",
    measure="held-out loss at the best step after training on 64 sequences of a Markov chain, at equal parameters",
    experiment=Trial(
      studies.GENERAL,
      greater("shared", "separate, half as wide", by=0.02, name="held-out loss of shared less separate"),
    ),
    literature=(
      Literature(
        "equal on enwik8 and imagenet64",
        "bits per dim",
        "Kitaev et al. 2020 (Reformer), 5, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="The train-validation gap is a diagnostic only. The cited comparison masks self. Contexts"
    " of fresh sequences are combinations that training did not hold.",
  ),
  Claim(
    id="QK-3",
    document="D4",
    place="D4a-2",
    statement="A token's query and key cannot be one and the same vector.",
    measure="accuracy of shared projections with self masked, two layers and a feed-forward network, against separate "
    "ones",
    experiment=Trial(
      studies.RELATION,
      greater("separate, deep", "shared, others, deep", by=0.1, name="separate over shared, two layers"),
    ),
    literature=(
      Literature(
        "shared QK costs nothing at three layers",
        "bits per dim",
        "Kitaev et al. 2020 (Reformer), 5, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="Cannot is read as: loses a tenth of accuracy within these steps. That no training of any length would do is"
    " not tried.",
  ),
  Claim(
    id="QK-4",
    document="extension",
    place="D4a-2",
    statement="With one matrix for queries and keys the scores are symmetric and every token favors itself.",
    measure="asymmetry of the scores; mean weight on the diagonal at initialization, as a multiple of an even share",
    experiment=Check(
      "qk.checks.shared",
      All(
        (Bound("asymmetry", high=1e-5), Bound("weight on itself", low=1.1), Bound("asymmetry of separate", low=1e-2))
      ),
    ),
  ),
  Claim(
    id="QK-5",
    document="D4",
    place="D4a-2",
    statement="The value projection, too, has to differ from query and key.",
    measure="area under the accuracy curve of separate and K=V projections, where address and content differ",
    experiment=Trial(studies.VALUES, greater("separate", "K=V", by=0.05, name="separate over K=V")),
    note="Equal width and steps; tying saves a quarter of the projections. Q=K and Q=K=V are told beside it, and K=V on"
    " the control whose content is its address. The area asks who learns sooner; accuracy at the end stands beside it.",
  ),
)
