"""What heads cost, and what they save."""

from experiments.claims.head.inside import exceeds
from experiments.protocol.claim import All, Bench, Claim, Literature, Moderated, greater

_RATIO = 1.05  # 5 %: above the noise of a timing, below what anyone would plan for


def _dearer(name: str) -> All:
  return All(tuple(exceeds(f"{name}: {cost}", _RATIO) for cost in ("memory", "time per step", "time to target")))


_DEARER_AT_WIDTH = Moderated(
  "what is counted",
  {"arithmetic": exceeds("fixed width: flops", _RATIO), "memory and time": _dearer("fixed width")},
  greater("fixed width: time per step", "fixed width: flops", 0.0),
)

COST = (
  Claim(
    id="HEAD-4a",
    document="D3",
    place="D3-answer-3",
    statement="At fixed model width, more heads cost more computation and longer training.",
    measure="FLOPs, memory, time per step and time to target against heads; parameters as a fact beside them",
    experiment=Bench("heads.cost", _DEARER_AT_WIDTH),
    contradicts=("HEAD-17",),
    literature=(
      Literature(
        "similar to single-head attention of full width",
        "total cost",
        "Vaswani et al. 2017, 3.2.2, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="32 heads over 8, ratios; the minimum is 5 %. Layer: width 512, 128 tokens, forward and backward; parameters "
    "are equal. Time to target: recall with one relation, which both learn, width 64, this device. Tasks that need "
    "many heads: HEAD-17.",
  ),
  Claim(
    id="HEAD-4b",
    document="D3",
    place="D3-answer-3",
    statement="At fixed head width, more heads cost more computation and longer training.",
    measure="FLOPs, memory, time per step and time to target against heads",
    experiment=Bench("heads.cost", All((exceeds("fixed head width: flops", _RATIO), _dearer("fixed head width")))),
    contradicts=("HEAD-17",),
    note="As HEAD-4a, with heads of 64 features (8 in the trained model): four times the parameters.",
  ),
  Claim(
    id="HEAD-17",
    document="D2",
    place="D2b-12",
    statement="Several heads side by side are an efficient way to look at several places.",
    measure="time to target of one layer with m heads against m stacked layers with one, at equal parameters",
    experiment=Bench("heads.placement", exceeds("seconds, one after the other over side by side", 1.1)),
    contradicts=("HEAD-4a", "HEAD-4b"),
    note="Seconds until 90 % of four relations are right, on this device, at most 300 steps; the stack must take a "
    "tenth longer. Its heads keep 16 features; parameters differ by 2 % (norms).",
  ),
)
