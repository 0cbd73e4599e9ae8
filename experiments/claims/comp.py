"""The list of key components, taken away one at a time."""

from experiments.claim import Claim

CLAIMS = (
  Claim(
    "COMP-1",
    "D2",
    "D2a-1",
    "Multi-head attention, positions, feed-forward network, normalization and residuals are each a key part: no one can"
    " be removed without loss.",
    "empirical",
    "trial",
    "loss by each removal, replaced at equal parameters, on four tasks built for a component and one that is not",
    note="The pattern over removals and tasks is written down beforehand and tested as one family.",
  ),
)
