"""Separate query, key and value projections, against shared ones."""

from experiments.claims.qk import studies
from experiments.protocol.claim import All, Bound, Check, Claim, Literature, Moderated, Trial, greater, interaction

CLAIMS = (
  Claim(
    "QK-1",
    "D4",
    "D4a-2",
    "Separate query and key matrices project into different spaces, which makes attention more expressive.",
    "empirical",
    "trial",
    "accuracy on an asymmetric relation, separate against shared, at equal width and at equal parameters",
    Trial(
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
    "QK-2",
    "D4",
    "D4a-2",
    "Separate query and key matrices improve generalization.",
    "empirical",
    "trial",
    "held-out loss at the best step after training on 64 sequences of a Markov chain, at equal parameters",
    Trial(
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
    "QK-3",
    "D4",
    "D4a-2",
    "A token's query and key cannot be one and the same vector.",
    "empirical",
    "trial",
    "accuracy of shared projections with self masked, two layers and a feed-forward network, against separate ones",
    Trial(
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
  ),
  Claim(
    "QK-4",
    "extension",
    "D4a-2",
    "With one matrix for queries and keys the scores are symmetric and every token favors itself.",
    "exact",
    "check",
    "asymmetry of the scores; mean weight on the diagonal at initialization, as a multiple of an even share",
    Check(
      "qk.checks.shared",
      All(
        (Bound("asymmetry", high=1e-5), Bound("weight on itself", low=1.1), Bound("asymmetry of separate", low=1e-2))
      ),
    ),
  ),
  Claim(
    "QK-5",
    "D4",
    "D4a-2",
    "The value projection, too, has to differ from query and key.",
    "empirical",
    "trial",
    "area under the accuracy curve of separate and K=V projections, where address and content differ",
    Trial(studies.VALUES, greater("separate", "K=V", by=0.05, name="separate over K=V")),
    note="Equal width and steps; tying saves a quarter of the projections. Q=K and Q=K=V are told beside it, and K=V on"
    " the control whose content is its address.",
  ),
)
