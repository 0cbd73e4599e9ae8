"""Dividing the scores by the square root of the key width: the premise, the effect, the formula.

Numbers that span decades are compared as powers of two. In exact rows one unit is one seed of drawn vectors.
"""

from experiments.claims.scale.softmax import SOFTMAX, TWICE, WIDTHS
from experiments.claims.scale.trained import TRAINED
from experiments.protocol.claim import (
  All,
  Bound,
  Check,
  Citation,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  slope,
)

UNIT_VARIANCE = 0.05  # relative error of a variance that still counts as none


def _no_error(sample: str, margin: float, worse: str) -> Equivalent:
  """The sample is 0 up to the margin, while the other one is not."""
  return Equivalent(Contrast(f"{sample} = 0", {sample: 1.0}, 0.0), margin, Contrast(f"{worse} = 0", {worse: 1.0}, 0.0))


def _grows(scheme: str) -> All:
  """Grows at least like the square root of the width, and passes the variance 1 that scaling restores."""
  samples = tuple(f"log2 variance, {scheme}, {width}" for width in (8, 64, 512))
  return All(
    (
      slope(samples, (3.0, 6.0, 9.0), 0.5, f"{scheme}: variance, exponent in the key width"),
      Contrast(f"{scheme}: log2 variance at width 512", {samples[-1]: 1.0}, 0.0),
      _no_error(f"log2 of measured over formula, {scheme}", 0.25, "log2 of measured over key width, torch mha"),
    )
  )


CLAIMS = (
  Claim(
    id="SCALE-1",
    document="D2",
    place="D2a-5; D2a-10; D4a-4",
    statement="Dot products of queries and keys grow large with the key width: for independent unit entries the "
    "variance "
    "equals it.",
    measure="variance of the dot product over the key width, from 8 to 1024",
    experiment=Check(
      "scale.checks.variance",
      All(
        tuple(
          _no_error(f"{kind} entries, {width}", UNIT_VARIANCE, f"{kind} entries, {width}, scaled")
          for kind in ("normal", "uniform")
          for width in WIDTHS
        )
      ),
    ),
    literature=(
      Literature(
        "d_k", "variance of q.k", "Vaswani et al. 2017, footnote 4, seen at velog.io/@d4r6j/Transformer", checked=True
      ),
    ),
    note="The known difference is the variance of the scaled product. SCALE-1b asks whether real layers start so.",
  ),
  Claim(
    id="SCALE-1b",
    document="D2",
    place="D2a-5; D2a-10; D4a-4",
    statement="Dot products grow large with the key width under the initializations that are in use, too.",
    measure="variance of the dot product on normalized inputs against its formula, per initialization",
    experiment=Check(
      "scale.checks.initialization",
      Moderated(
        "initial variance of the projections",
        {
          "set by the inputs alone (lecun, torch)": All(tuple(map(_grows, ("lecun", "torch", "torch mha")))),
          "set otherwise (glorot, gpt2)": All(tuple(map(_grows, ("glorot", "gpt2")))),
        },
        Contrast(
          "growth from 64 to 512 beyond that of glorot (log2)",
          {
            "log2 variance, lecun, 512": 1.0,
            "log2 variance, lecun, 64": -1.0,
            "log2 variance, glorot, 512": -1.0,
            "log2 variance, glorot, 64": 1.0,
          },
          TWICE,
        ),
      ),
    ),
    note="Formula: d_k (D s^2)^2 with weights of variance s^2, model width D = 64. Glorot counts outputs too, so keys "
    "wider than the model get smaller weights; gpt2 draws with deviation .02 at any width.",
  ),
  Claim(
    id="SCALE-6",
    document="D2",
    place="D2a-5",
    statement="Attention before the Transformer did not divide its scores by the root of the key width.",
    measure="score functions of earlier published attention",
    experiment=Citation(
      (
        ("source", "score", "factor"),
        ("Graves et al. 2014 (Neural Turing Machine)", "cosine of key and memory row", "learned strength"),
        ("Bahdanau et al. 2015", "v.tanh(W s + U h)", "none"),
        ("Xu et al. 2015 (captions)", "network with one hidden layer", "none"),
        ("Sukhbaatar et al. 2015 (memory networks)", "u.m", "none"),
        ("Luong et al. 2015", "s.h; s.W h; v.tanh(W [s; h])", "none"),
        ("Vinyals et al. 2015 (pointer networks)", "v.tanh(W e + U d)", "none"),
        ("Chorowski et al. 2015 (speech)", "additive, with features of the place", "fixed sharpening, optional"),
        ("Parikh et al. 2016 (decomposable)", "F(a).F(b)", "none"),
        ("Cheng et al. 2016 (intra-attention)", "v.tanh(...)", "none"),
        ("Britz et al. 2017", "q.k and additive, compared", "none"),
        ("Vaswani et al. 2017", "q.k", "one over the root of the key width"),
      ),
      {"earlier sources that divide by the root of the key width": (0.0,) * 10},
      Bound("earlier sources that divide by the root of the key width", 0.0, 0.0),
    ),
    literature=(Literature("additive; unscaled dot", "score", "Bahdanau et al. 2015; Luong et al. 2015"),),
    note="Ten sources, from memory but for Britz et al. Other factors occur: a learned strength, a fixed sharpening. "
    "The widespread form is additive, which has no product to scale.",
  ),
  Claim(
    id="SCALE-7",
    document="D4",
    place="D4a-4",
    statement="The need for scaling can be derived: variance of the dot product, then the Jacobian of the softmax.",
    measure="error of both formulas against automatic differentiation and enumeration",
    experiment=Check(
      "scale.checks.derivation",
      All(
        (
          Bound("error of the mean over all vectors of signs", 0.0, 0.0),
          Bound("error of the variance over all vectors of signs", 0.0, 0.0),
          Bound("error of the Jacobian", 0.0, 1e-6),
          Bound("norm over trace", 0.0, 1 + 1e-9),
          Bound("trace over twice the rest", 0.0, 1 + 1e-9),
        )
      ),
    ),
    note="Steps: Var(q.k) = d_k; J = diag(a) - a a^T; |J| <= 1 - sum a^2 <= 2 (1 - max a), so that J vanishes as one "
    "score leaves the others behind.",
  ),
  Claim(
    id="SCALE-8",
    document="D2",
    place="D2b-10",
    statement="Attention weights are the softmax of the bare query-key dot products.",
    nature="exact",
    measure="formula given in each place of the documents and in the publication",
    experiment=Citation(
      (
        ("place", "formula"),
        ("D1-12", "divided by the root of the key width"),
        ("D2a-5", "divided by the root of the key width"),
        ("D2a-10", "divided by the root of the key width"),
        ("D2b-10", "bare"),
        ("D4a-4", "divided by the root of the key width"),
        ("Vaswani et al. 2017, equation 1", "divided by the root of the key width"),
      ),
      {"other places that give the bare formula": (0.0, 0.0, 0.0, 0.0, 0.0)},
      Bound("other places that give the bare formula", 1.0, 1.0),
      identity=True,
    ),
    contradicts=("MECH-5",),
    note="An inspection: D2b-10 gives the form that D2a-5 warns against. As unscaled dot attention it exists, in Luong "
    "et al. 2015.",
  ),
  *SOFTMAX,
  *TRAINED,
)
