"""Positional information: what a Transformer knows of order, and what the encoding schemes add."""

from experiments.claims.pos.trained import TRAINED
from experiments.protocol.claim import All, Bound, Check, Claim, Moderated

_RELATIVE, _ABSOLUTE = ("rope", "alibi", "t5", "shaw", "xl"), ("sinusoidal", "learned")
_EXACT, _PLAIN = 1e-5, 0.05  # zero in float32; a difference that no rounding explains

CLAIMS = (
  Claim(
    id="POS-1",
    document="D1",
    place="D1-9; D2a-2",
    statement="A Transformer encoder has no built-in notion of sequence: without positional encoding, permuting its "
    "inputs merely"
    " permutes its outputs.",
    measure="largest difference between f(Px) and P f(x), at one, two and four layers, without positions and with "
    "sinusoids",
    experiment=Check(
      "pos.checks.permuted", All((Bound("without positions", 0.0, _EXACT), Bound("with positions", low=_PLAIN)))
    ),
  ),
  Claim(
    id="POS-3",
    document="D2",
    place="D2a-2",
    statement="The encoding added to the embeddings tells the model how far apart tokens are, not only where each one "
    "stands.",
    measure="residual, on held-out positions, of one linear map that shifts every encoding by k",
    experiment=Check(
      "pos.checks.maps",
      Moderated(
        "kind of encoding",
        {"sinusoidal": Bound("sinusoidal", 0.0, 1e-3), "learned table": Bound("learned", 0.0, 1e-3)},
      ),
    ),
    contradicts=("POS-2",),
    note="1024 positions, 64 features, shifts 1, 7 and 64: with fewer positions than features any table fits. The table"
    " is as first drawn. Even with sinusoids the scores depend on the absolute position: POS-4.",
  ),
  Claim(
    id="POS-4",
    document="D2",
    place="D2b-7",
    statement="Relative schemes describe how two tokens relate independently of where in the sequence the pair stands.",
    measure="change of first-layer scores when the row moves by 1, 17 and 64 positions, and when it is read backwards",
    experiment=Check(
      "pos.checks.shifted",
      All(
        (
          *(Bound(f"{kind}: further along", 0.0, 1e-4) for kind in _RELATIVE),
          *(Bound(f"{kind}: backwards", low=_PLAIN) for kind in _RELATIVE),
          *(Bound(f"{kind}: further along", low=_PLAIN) for kind in _ABSOLUTE),
        )
      ),
    ),
    note="RoPE, ALiBi, T5, Shaw and Transformer-XL must stay, sinusoids and a learned table beside them must move."
    " Scores given their inputs: higher layers of a decoder know where a row begins. Float32 angles blur RoPE at long"
    " shifts.",
  ),
  Claim(
    id="POS-6",
    document="D2",
    place="D2b-7",
    statement="Word order decides who does what in a sentence, so a translator has to know it.",
    measure="subject/object accuracy on a symmetric toy grammar without positions, and by word order alone",
    experiment=Check(
      "pos.checks.mirrored",
      All(
        (
          Bound("accuracy without positions", 0.5, 0.5),
          Bound("a noun in one place and in the other", 0.0, _EXACT),
          Bound("accuracy by order alone", 1.0, 1.0),
        )
      ),
    ),
    note="One half by symmetry, over sentences and their mirror images, whatever the weights; what order is worth on"
    " real text is POS-10.",
  ),
  Claim(
    id="POS-8",
    document="D1",
    place="D1-9",
    statement="Order is lost because all tokens are processed in parallel.",
    measure="order known by attention at once and query by query; by a convolution and by causal attention, both at "
    "once",
    experiment=Check(
      "pos.checks.parallel",
      All(
        (
          Bound("attention, at once", 0.0, _EXACT),
          Bound("attention, query by query", low=_PLAIN),
          Bound("convolution, at once", 0.0, _EXACT),
          Bound("causal attention, at once", 0.0, _EXACT),
        )
      ),
    ),
    note="Read as a cause: what is worked out at once knows no order, what is worked out singly does. Knowing order:"
    " f(Px) differs from P f(x). The other cause in question is that a weighted sum is symmetric in its keys.",
  ),
  *TRAINED,
  Claim(
    id="POS-10",
    document="D2",
    place="D2b-7",
    statement="Translation of real text suffers when the model cannot know the order of the source words.",
    evidence="trial",
    measure="chrF and BLEU, English to German, with, without and with shuffled source positions",
  ),
)
