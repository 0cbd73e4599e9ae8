"""Separate query, key and value projections, against shared ones."""

from experiments.claim import Claim, Literature

CLAIMS = (
  Claim(
    "QK-1",
    "D4",
    "D4a-2",
    "Separate query and key matrices project into different spaces, which makes attention more expressive.",
    "empirical",
    "trial",
    "accuracy on an asymmetric relation, separate against shared, at equal width and at equal parameters",
    note="The position scheme matters: rotary keeps shared scores symmetric, T5 and Shaw biases do not.",
  ),
  Claim(
    "QK-2",
    "D4",
    "D4a-2",
    "Separate query and key matrices improve generalization.",
    "empirical",
    "trial",
    "held-out loss at the best step and on unseen combinations, at equal parameters",
    literature=(Literature("equal on enwik8 and imagenet64", "bits per dim", "Kitaev et al. 2020 (Reformer)"),),
    note="The train-validation gap is a diagnostic only. The cited comparison masks self.",
  ),
  Claim(
    "QK-3",
    "D4",
    "D4a-2",
    "A token's query and key cannot be one and the same vector.",
    "empirical",
    "trial",
    "accuracy of shared projections by depth, feed-forward network and masking of self",
    literature=(Literature("shared QK costs nothing at full depth", "bits per dim", "Kitaev et al. 2020 (Reformer)"),),
  ),
  Claim(
    "QK-4",
    "extension",
    "D4a-2",
    "With one matrix for queries and keys the scores are symmetric and every token favors itself.",
    "exact",
    "check",
    "asymmetry of the scores; mean weight on the diagonal at initialization",
  ),
  Claim(
    "QK-5",
    "D4",
    "D4a-2",
    "The value projection, too, has to differ from query and key.",
    "empirical",
    "trial",
    "accuracy of separate, Q=K, K=V and Q=K=V at equal parameters, where address and content differ",
  ),
)
