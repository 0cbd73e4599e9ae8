"""The list of key components, taken away one at a time."""

from experiments.claims.comp.studies import OWN, PARTS, REMOVALS
from experiments.protocol.claim import All, Claim, Trial, greater

_ACCURACY, _NATS = 0.1, 0.05

_PREDICTED = All(
  tuple(greater(f"{task}, complete:accuracy", f"{task}, no {part}:accuracy", _ACCURACY) for part, task in OWN.items())
  + tuple(greater(f"words, no {part}:loss", "words, complete:loss", _NATS) for part in REMOVALS)
)

CLAIMS = (
  Claim(
    id="COMP-1",
    document="D2",
    place="D2a-1",
    statement="Multi-head attention, positions, feed-forward network, normalization and residuals are each a key part: "
    "no one can"
    " be removed without loss.",
    measure="accuracy lost on the task built for a part, and loss added on one built for none, replaced at equal "
    "parameters",
    experiment=Trial(PARTS, _PREDICTED),
    note="Each removal must cost a tenth of accuracy on its own task (several relations, order, modular sum, a stack of"
    " six layers) and .05 nat per phoneme on real words. Attention gives way to plain averaging, the network to a"
    " linear one. The pattern was written down beforehand.",
  ),
)
