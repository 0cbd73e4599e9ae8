"""The number of attention heads: need, benefit, cost, specialization."""

from experiments.claims.head import published, studies
from experiments.claims.head.cost import COST
from experiments.claims.head.inside import INSIDE
from experiments.protocol.claim import (
  All,
  Bound,
  Citation,
  Claim,
  Contrast,
  Literature,
  Moderated,
  Trial,
  greater,
  interaction,
  slope,
)

_TABLE_3A = Literature(
  "24.9; 25.5; 25.8; 25.8; 25.4", "BLEU, h = 1; 4; 8; 16; 32", "Vaswani et al. 2017, Table 3(A)", True
)


# Accuracy: a tenth is what a reader of a table would call a difference; a twentieth what "little" may be at most.
_ACCURACY, _LITTLE = 0.1, 0.05

_NEED = All(
  (
    greater("heads=4:accuracy", "heads=1:accuracy", _ACCURACY),
    greater("heads=4:accuracy", "heads=2:accuracy", _ACCURACY),
    greater("heads=8:accuracy", "heads=1:accuracy", _ACCURACY),
    greater("heads=8:accuracy", "heads=2:accuracy", _ACCURACY),
  )
)

_MANY = Moderated(
  "what stays fixed",
  {
    "the model's width": greater("heads=8", "heads=32", -_LITTLE),
    "the heads' width": greater("heads=8", "heads=32 head_dim=8", -_LITTLE),
  },
  greater("heads=32 head_dim=8", "heads=32", _LITTLE),
)

_ESSENTIAL = Moderated(
  "relations asked at once",
  {
    "four": greater("relations=4 heads=4:accuracy", "relations=4 heads=1:accuracy", _ACCURACY),
    "one": greater("relations=1 heads=4:accuracy", "relations=1 heads=1:accuracy", _ACCURACY),
  },
  interaction(
    ("relations=4 heads=4:accuracy", "relations=4 heads=1:accuracy"),
    ("relations=1 heads=4:accuracy", "relations=1 heads=1:accuracy"),
    _ACCURACY,
    "gain of four heads with four relations > with one",
  ),
)


def _gain(task: str) -> tuple[str, str]:
  return f"{task} heads=4", f"{task} heads=1"


_MORE_RELATIONS = interaction(_gain("relations=4"), _gain("relations=1"), _LITTLE, "gain of heads grows with relations")
_MORE_HOPS = interaction(_gain("hops=2"), _gain("hops=1"), _LITTLE, "gain of heads grows with hops")
_ROBUST = Moderated(
  "kind of complexity",
  {"several look-ups at once": _MORE_RELATIONS, "a chain of look-ups": _MORE_HOPS},
  Contrast(
    "gain with relations > gain with hops",
    dict(_MORE_RELATIONS.weights) | {name: -weight for name, weight in _MORE_HOPS.weights.items()},
    _LITTLE,
  ),
)

# The smallest number within a twentieth of the best of 1, 4 and 8: above 1 with four relations, 1 with one relation.
_TASK_DECIDES = All(
  (
    greater("relations=4 heads=4:accuracy", "relations=4 heads=1:accuracy", _LITTLE),
    greater("relations=1 heads=1:accuracy", "relations=1 heads=4:accuracy", -_LITTLE),
    greater("relations=1 heads=1:accuracy", "relations=1 heads=8:accuracy", -_LITTLE),
  )
)

CLAIMS = (
  Claim(
    id="HEAD-1",
    document="D0",
    place="D0-3; D2a-3; D3-definition",
    statement="Several heads let the model attend to several places at once, where a single head has to average.",
    measure="accuracy on a task with m retrievals per token, heads below m against heads from m up, at equal "
    "parameters",
    experiment=Trial(studies.FOUR_KEYS, _NEED),
    literature=(_TABLE_3A, Literature("0.9 BLEU worse", "single head", "Vaswani et al. 2017, 4.1", checked=True)),
    note="Four retrievals, one layer, width 64; equal parameters and steps. Minimum effect: a tenth of accuracy at the "
    "last step. Tier quick stops at 300 steps, tier small at 400, where one head has long stopped rising. Depth in "
    "the place of heads is HEAD-17.",
  ),
  Claim(
    id="HEAD-2",
    document="D0",
    place="D0-3; D2b-12",
    statement="Accuracy rises with the number of heads.",
    measure="trend of accuracy over the number of heads, up to the number of relations",
    experiment=Trial(
      studies.FOUR_KEYS,
      slope(("heads=1", "heads=2", "heads=4"), (0.0, 1.0, 2.0), _LITTLE, "mean accuracy per doubling of heads"),
    ),
    literature=(_TABLE_3A,),
    note="Mean accuracy over training, so that the ceiling does not cut the trend; a twentieth per doubling is the "
    "minimum. Beyond the number of relations: HEAD-3; with one relation: HEAD-11.",
  ),
  Claim(
    id="HEAD-3",
    document="D3",
    place="D3-answer-3",
    statement="Beyond some number, more heads bring little or nothing.",
    measure="mean accuracy over training of 32 heads minus that of 8, at fixed width and at fixed head width",
    experiment=Trial(studies.MANY, _MANY),
    literature=(_TABLE_3A,),
    note="Non-superiority: 32 heads gain less than a twentieth of mean accuracy, which is below its ceiling. Fixed "
    "width means equal parameters and heads of two features; fixed head width four times the parameters, and tells "
    "many heads from narrow ones. Four relations; with more relations than eight the number may lie higher.",
  ),
  Claim(
    id="HEAD-7a",
    document="D2",
    place="D2b-12",
    statement="A model trained with one head fails at understanding context: several are essential.",
    measure="accuracy of one head against several at equal parameters, with four relations and with one",
    experiment=Trial(studies.RELATIONS, _ESSENTIAL),
    contradicts=("HEAD-11",),
    note="Minimum: a tenth of accuracy at the last step (400 with four relations, 200 with one).",
  ),
  Claim(
    id="HEAD-8",
    document="D3",
    place="D3-fact-3",
    statement="Several heads make the model more robust to complex patterns.",
    measure="interaction of heads and complexity: more relations at once, more hops in a chain",
    experiment=Trial(studies.COMPLEXITY, _ROBUST),
    note="Gain: four heads minus one at equal parameters, in mean accuracy over training; minimum growth a twentieth. "
    "400 steps, 200 for one relation and one hop. Chains: two layers, one relation, two hops against one. Distractors "
    "and noise are options of the task, not run.",
  ),
  Claim(
    id="HEAD-9",
    document="D3",
    place="D3-fact-5; D3-answer-2",
    statement="Several heads ease long-range dependencies.",
    measure="interaction of heads and distance: four relations, 12 or 48 pairs to search",
    experiment=Trial(
      studies.RANGE,
      interaction(
        ("heads=4 pairs=48", "heads=1 pairs=48"),
        ("heads=4 pairs=12", "heads=1 pairs=12"),
        by=0.05,
        name="gain from four heads, 48 less 12 pairs",
      ),
    ),
    note="Four times the pairs are four times the way to what is asked for; a recurrent network is told beside it.",
  ),
  Claim(
    id="HEAD-10",
    document="D3",
    place="D3-fact-4",
    statement="Many published Transformers use 8 or 12 heads.",
    measure="heads of published configurations, by date",
    experiment=Citation(
      published.PUBLISHED,
      {
        "share with 8 or 12 heads, to 2019": (published.share(2017, 2019),),
        "share with 8 or 12 heads, since 2020": (published.share(2020, 2024),),
      },
      Moderated(
        "year of publication",
        {
          "to 2019": Bound("share with 8 or 12 heads, to 2019", low=0.25),
          "since 2020": Bound("share with 8 or 12 heads, since 2020", low=0.25),
        },
      ),
    ),
    note="Many: one configuration in four, where each size that authors list counts once. The table is from memory but "
    "for its first two lines; which families stand in it moves the shares.",
  ),
  Claim(
    id="HEAD-11",
    document="D3",
    place="D3-fact-4",
    statement="The best number of heads depends on the task.",
    measure="smallest number of heads within a margin of the best, with one relation and with four",
    experiment=Trial(studies.RELATIONS, _TASK_DECIDES),
    contradicts=("HEAD-7a",),
    note="Margin: a twentieth of accuracy at the last step, among 1, 4 and 8 heads at equal parameters. Where several"
    " numbers stand at the ceiling, the best is the smallest of them: best means enough.",
  ),
  Claim(
    id="HEAD-13",
    document="D0",
    place="D0-3",
    statement="More heads increase how much a model can learn.",
    measure="share of 2048 random labeled sequences memorized in fixed steps, by heads, at equal parameters",
    experiment=Trial(
      studies.CAPACITY,
      slope(tuple(f"heads={h}" for h in (1, 2, 4, 8)), (0.0, 1.0, 2.0, 3.0), 0.02, "share per doubling of heads"),
    ),
    literature=(
      Literature(
        "about h n under assumptions",
        "sequences",
        "Mahdavi et al. 2024, abstract seen at researchtrend.ai/papers/2306.02010",
        checked=True,
      ),
    ),
    note="One layer of attention and no feed-forward network, rows of 8 symbols in 4 classes, 600 steps of 64 rows; "
    "minimum: 2 % of the table per doubling. What is learned in a fixed time stands for capacity.",
  ),
  Claim(
    id="HEAD-16a",
    document="D3",
    place="D3-definition; D3-answer-1",
    statement="Several heads do better than one on translation and summarization.",
    evidence="trial",
    measure="chrF on English to German and accuracy of select-and-copy, at fixed width and at fixed head width",
    literature=(_TABLE_3A,),
  ),
  *COST,
  *INSIDE,
)
