"""What happens inside trained heads: specialization, subspaces, likeness, pruning, expressive power."""

from experiments.claims.head import studies
from experiments.protocol.claim import (
  All,
  Bound,
  Check,
  Claim,
  Contrast,
  Literature,
  Moderated,
  Probe,
  greater,
  interaction,
)


def exceeds(sample: str, above: float) -> Contrast:
  """The test that a sample's mean lies above a number."""
  return Contrast(f"{sample} > {above:g}", {sample: 1.0}, above)


_ACCURACY = 0.1  # as in head.py: what a reader of a table would call a difference

_INFORMATION = "heads=4:probe.mutual_information"
_SPECIALIZED = All(
  (
    exceeds(f"{_INFORMATION}.information", 0.5),
    greater(f"{_INFORMATION}.information", f"{_INFORMATION}.information_untrained", 0.25),
    greater(f"{_INFORMATION}.own_drop", f"{_INFORMATION}.other_drop", 0.2),
  )
)


_DROP = "{}:probe.pruning.drop_half"
_PRUNED = Moderated(
  "heads trained",
  {
    "as many as relations": exceeds(_DROP.format("heads=4"), _ACCURACY),
    "twice as many": exceeds(_DROP.format("heads=8"), _ACCURACY),
  },
  greater(_DROP.format("heads=4"), _DROP.format("heads=8"), _ACCURACY),
)

_EXPRESSION = Moderated(
  "what is combined",
  {
    "the heads' outputs": All(
      (
        Bound("distance of m heads from m permutations", high=0.01),
        Bound("error of the outputs of m heads", high=0.01),
        Bound("left out by m - 1 heads", low=0.1),
      )
    ),
    "the heads' scores": Bound("change of one head's weights by the others", low=1e-6),
  },
)

_CKA = "{}:probe.similarity.{}"


def _unlike(arm: str) -> Contrast:
  return greater(_CKA.format(arm, "cka_drawn"), _CKA.format(arm, "cka"), 0.01)


_DIFFERENT = Moderated(
  "heads trained",
  {"as many as relations": _unlike("heads=4"), "twice as many": _unlike("heads=8")},
  interaction(
    (_CKA.format("heads=4", "cka_drawn"), _CKA.format("heads=4", "cka")),
    (_CKA.format("heads=8", "cka_drawn"), _CKA.format("heads=8", "cka")),
    0.01,
    "made unlike by training: four heads > eight",
  ),
)

INSIDE = (
  Claim(
    id="HEAD-5",
    document="D1",
    place="D1-13; D2b-12; D3-fact-3",
    statement="Trained heads specialize in different kinds of relations, such as syntactic and semantic ones.",
    measure="normalized mutual information of head and relation; loss by relation when one head is ablated",
    experiment=Probe(studies.INSIDE, _SPECIALIZED),
    literature=(
      Literature(
        "specialized heads in trained models",
        "",
        "Clark et al. 2019, abstract seen in copies on GitHub; Voita et al. 2019, abstract seen at ar5iv.org",
        checked=True,
      ),
    ),
    note="Four heads, four relations, all of content and each with its own slot: whether heads also part into "
    "syntactic and semantic ones needs models of text. Minimum: half of the possible information, a quarter above "
    "untrained heads (one head has none), and a silenced head costs its own relation a fifth more than the others.",
  ),
  Claim(
    id="HEAD-6",
    document="D4",
    place="D4a-1",
    statement="Different heads attend within different subspaces.",
    measure="principal angles between the heads' query-key subspaces, against equal subspaces; random ones as "
    "reference",
    experiment=Probe(
      studies.INSIDE,
      All(tuple(exceeds(f"heads={h}:probe.subspaces.distance", 0.5) for h in (4, 8))),
    ),
    literature=(
      Literature("heads share subspaces", "", "Cordonnier et al. 2020, as its author says on GitHub", checked=True),
    ),
    note="Distance 0 means equal subspaces, 1 as far apart as random ones of that width; the minimum is half. Whether "
    "the structure guarantees it is HEAD-15.",
  ),
  Claim(
    id="HEAD-7b",
    document="D2",
    place="D2b-12",
    statement="A trained model needs its many heads.",
    measure="accuracy while heads are pruned greedily, chosen on batches apart from those that are scored",
    experiment=Probe(studies.INSIDE, _PRUNED),
    literature=(
      Literature(
        "38 of 48 heads pruned for -0.15",
        "BLEU",
        "Voita et al. 2019, abstract seen at ar5iv.org 1905.09418",
        checked=True,
      ),
      Literature("-13.56", "BLEU, one head left in the last encoder-decoder attention", "Michel et al. 2019"),
    ),
    note="Half of the heads go, without retraining; minimum loss: a tenth of accuracy. One encoder layer, so one place "
    "only; the place that others found least prunable, attention from decoder to encoder, is not in this model.",
  ),
  Claim(
    id="HEAD-12",
    document="D2",
    place="D2a-3",
    statement="Combining the attention scores of several heads adds expressive power.",
    measure="error of a construction with h heads for m permutations; change of one head's scores by another's",
    experiment=Check("head.checks.expression", _EXPRESSION),
    literature=(Literature("scores mixed across heads only there", "", "Shazeer et al. 2020 (talking heads)"),),
    note="Heads of two features suffice: keys on a circle and a large gain. What fewer heads leave out is a bound for "
    "heads of any width.",
  ),
  Claim(
    id="HEAD-14",
    document="D2",
    place="D2b-12; D3-fact-1; D3-fact-3",
    statement="The heads of a trained layer learn different representations.",
    measure="similarity (CKA) of head outputs before the output projection, against heads put back to independent "
    "first values",
    experiment=Probe(studies.INSIDE, _DIFFERENT),
    literature=(
      Literature(
        "many heads are redundant",
        "",
        "Michel et al. 2019, abstract seen at deepai.org; Cordonnier et al. 2020, as its author says on GitHub",
        checked=True,
      ),
    ),
    note="Training must make heads less alike than independent draws in the same model, by .01 of CKA, which is what "
    "unrelated features show on a sample of this size.",
  ),
  Claim(
    id="HEAD-15",
    document="D4",
    place="D4a-1",
    statement="Having several heads guarantees that they attend to different subspaces.",
    measure="largest difference of two heads that start equal, after 200 steps",
    experiment=Check("head.checks.guarantee", Bound("heads that start equal: largest difference", low=1e-6)),
    note="A guarantee must not rest on the draw of initial values. Beside it: heads that start apart, and the loss of "
    "both.",
  ),
  Claim(
    id="HEAD-16b",
    document="D2",
    place="D2a-3",
    statement="Heads capture relations between tokens at different levels.",
    evidence="probe",
    measure="loss of local and of global relations when heads of each layer are ablated, on a nested grammar",
  ),
)
