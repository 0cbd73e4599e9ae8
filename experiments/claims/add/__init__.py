"""Additive against dot-product attention: speed, cost, quality, spread."""

from experiments.claims.add.trained import EVEN, SCALE, TRAINED
from experiments.protocol.claim import All, Bench, Bound, Check, Claim, Contrast, Literature, Moderated, greater

SIMILAR = 2.0  # "about as much" is less than twice


def _similar(price: int) -> All:
  """At most twice the operations, and, up to the softmax's own, the same multiple at every length and width."""
  suffix = f"{price} per tanh"
  return All(
    (
      Bound(f"layer, {suffix}", 0.0, SIMILAR),
      Bound(f"core, {suffix}", 0.0, SIMILAR),
      Bound(f"largest over smallest core, {suffix}", 1.0, 1.25),
    )
  )


def _linear_against_quadratic(additive: str) -> All:
  return All((Bound("dot, vectors given", 0.9, 1.1), Bound(f"additive, {additive}", 1.9, 2.1)))


def _first_evener(kind: str) -> All:
  return All(tuple(greater(f"additive, {width}", f"{kind} dot, {width}", EVEN) for width in (8, 32, 128)))


CLAIMS = (
  Claim(
    id="ADD-1",
    document="D4",
    place="D4a-3",
    statement="Dot-product attention was preferred to additive attention for its speed.",
    measure="ratio of times, forward and backward, by key width and length, best implementation of each",
    experiment=Bench(
      "score.speed",
      All(
        (
          Contrast("32 keys, width 128 (log2)", {"32 keys, width 128": 1.0}, 0.32),
          Contrast("128 keys, width 8 (log2)", {"128 keys, width 8": 1.0}, 0.32),
          Contrast("128 keys, width 128 (log2)", {"128 keys, width 128": 1.0}, 1.0),
          greater("128 keys, width 128", "128 keys, width 8", 0.5, "growth from width 8 to 128 (log2)"),
        )
      ),
    ),
    contradicts=("ADD-2",),
    literature=(
      Literature(
        "much faster and more space-efficient",
        "in practice",
        "Vaswani et al. 2017, 3.2.1, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="Minimum effects: a quarter longer everywhere, twice as long at 128 keys of width 128, growth by the root of "
    "two. All keys at once and by blocks of 32, the faster of the two counts for each. One process: its repeats share "
    "a compiled program. A fused additive kernel would narrow the gap; none is published.",
  ),
  Claim(
    id="ADD-2",
    document="D4",
    place="D4a-3",
    statement="Taken as a whole, additive attention costs about as much computation as dot-product attention.",
    measure="ratio of FLOPs by key width and length, for tanh counted as 1 to 20",
    experiment=Check(
      "add.checks.layers",
      Moderated("operations counted per tanh", {"1": _similar(1), "20": _similar(20)}),
    ),
    contradicts=("ADD-1", "ADD-3"),
    note="Forward, 16 to 256 tokens, width 8 to 512; about as much means less than twice. Scores, softmax and weighted "
    "sum are (5 + t) / 4 times the dot product's for t operations per tanh; projections pull a layer toward 1.",
  ),
  Claim(
    id="ADD-3",
    document="D4",
    place="D4b-2",
    statement="A score costs a number of operations linear in the key width for the dot product and quadratic for "
    "addition.",
    measure="exponent of FLOPs per pair in the key width, projections counted once per token or for every pair",
    experiment=Check(
      "add.checks.exponents",
      Moderated(
        "projection of additive scores",
        {
          "once per token": _linear_against_quadratic("vectors given"),
          "anew for every pair": _linear_against_quadratic("projected anew"),
        },
      ),
    ),
    contradicts=("ADD-2",),
    note="Charged alike, the two have one exponent: 1 with vectors given, 2 with both projected anew. The projection "
    "of a pair splits into one per token (ADD-8), and dot products in a layer have projections, too.",
  ),
  Claim(
    id="ADD-6a",
    document="D4",
    place="D4b-2",
    statement="At initialization additive attention spreads its weights more evenly than dot-product attention.",
    measure="normalized entropy of the weights at initialization, against scaled and unscaled dot",
    experiment=Check(
      "add.checks.evenness",
      Moderated(
        SCALE,
        {"unscaled": _first_evener("unscaled"), "scaled": _first_evener("scaled")},
        greater("scaled dot, 128", "unscaled dot, 128", EVEN),
      ),
    ),
    contradicts=("ADD-4",),
    note="Minimum effect: a quarter more keys in effect. An additive score lies within the sum of |v|, and v starts "
    "small; first queries and keys have unit variance.",
  ),
  Claim(
    id="ADD-7",
    document="D4",
    place="D4a-3",
    statement="The addition in additive attention is cheap by itself.",
    measure="FLOPs per pair of the sum alone, and with tanh and read-out",
    experiment=Check("add.checks.addition", Bound("sum alone", 0.0, 1.0)),
    note="The sum q + k takes d operations per pair, a dot product 2 d. It is a small part: with tanh and read-out the "
    "score takes (3 + t) d for t operations per tanh.",
  ),
  Claim(
    id="ADD-8",
    document="D4",
    place="D4a-3",
    statement="An additive score amounts to a network with one hidden layer on query and key.",
    measure="difference between the additive score and such a network on the joined vectors",
    experiment=Check(
      "add.checks.hidden_layer",
      All((Bound("difference", 0.0, 1e-5), Bound("difference without the hidden layer", 1e-3))),
      identity=True,
    ),
    note="Its first matrix is W_Q above W_K, which is why the projection can be done once per token (ADD-3).",
  ),
  *TRAINED,
)
