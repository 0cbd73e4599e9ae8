"""What self-attention and the Transformer are: mechanisms, shapes, masks. What only training shows is in TRAINED.

In exact rows a dependence counts when it exceeds a thousandth of the largest one beside it.
"""

from experiments.claims.mech.trained import TRAINED
from experiments.protocol.claim import All, Bound, Check, Claim, Moderated, Test

CLEAR = 1e-3
CLOSE = 1e-5  # float32 rounding over these sizes


def _exact(id: str, place: str, statement: str, run: str, test: Test, measure: str, identity: bool = False, **more):
  """A row whose evidence is a check of this group."""
  check = Check(run, test, identity=identity)
  return Claim(id=id, document=place[:2], place=place, statement=statement, measure=measure, experiment=check, **more)


def _all(*others: Bound, zero: tuple[str, ...] = (), close: tuple[str, ...] = (), clear: tuple[str, ...] = ()) -> All:
  """Samples that must be exactly zero, zero up to rounding, or clearly not zero; and other bounds."""
  parts = [Bound(sample, 0.0, 0.0) for sample in zero]
  parts += [Bound(sample, 0.0, CLOSE) for sample in close]
  parts += [Bound(sample, CLEAR) for sample in clear]
  return All((*parts, *others))


CLAIMS = (
  _exact(
    id="MECH-1",
    place="D0-1; D1-10",
    statement="Self-attention gives every token a distribution of weights over all tokens, set by what the tokens "
    "contain.",
    run="mech.checks.weights",
    test=_all(
      Bound("least weight", 0.0), Bound("error of the row sums", 0.0, 1e-6), clear=("least change with content",)
    ),
    measure="sign and row sums of the weights; their derivatives by the content of the token weighed",
    identity=True,
    note="That a weight is the token's importance for the result is MECH-18.",
  ),
  _exact(
    id="MECH-2",
    place="D0-2",
    statement="Multi-head self-attention returns the shape it was given: batch, length and width, for any fitting head "
    "count.",
    run="mech.checks_model.shapes",
    test=_all(zero=("another shape than the input", "another shape than in flax", "indivisible heads accepted")),
    measure="output shape for every number of heads that divides the width, also in flax; refusal of every other "
    "number",
    note="For self-attention: with cross-attention the length is that of the queries, not of the memory.",
  ),
  _exact(
    id="MECH-3",
    place="D1-1; D2a-8",
    statement="Each output of self-attention draws on the other inputs, so a token is represented differently in other "
    "contexts.",
    run="mech.checks.context",
    test=_all(
      zero=("feed forward dependence on another token",),
      clear=("weakest dependence on another token", "one token in two contexts"),
    ),
    measure="off-diagonal blocks of the Jacobian; outputs of one token in two contexts; a feed-forward network beside "
    "it",
  ),
  _exact(
    id="MECH-4",
    place="D1-2; D1-3",
    statement="All weights of self-attention lie in three matrices, one each for queries, keys and values.",
    run="mech.checks.parameters",
    test=Moderated(
      "number of heads",
      {
        "one head": Bound("one head: output left unexplained", 0.0, CLOSE),
        "several heads": Bound("several heads: output left unexplained", 0.0, CLOSE),
      },
    ),
    measure="share of the layer's output that the best three matrices leave unexplained; number of matrices",
    note="With one head the output matrix merges into the value matrix. Our layer stores it in both cases.",
  ),
  _exact(
    id="MECH-5",
    place="D1-12; D2a-5",
    statement="Attention weights are the softmax of query-key dot products over the square root of the key width.",
    run="mech.checks_model.formula",
    test=_all(
      close=("error against the formula", "error against jax nn", "error against flax"),
      clear=("difference when multiplied by the root",),
    ),
    measure="largest difference from the formula, from jax.nn.dot_product_attention and from flax's attention",
    contradicts=("SCALE-8",),
    note="Scaled means divided; read as multiplied, the result differs.",
  ),
  _exact(
    id="MECH-6",
    place="D2b-10",
    statement="The output of attention is the sum of the value vectors weighted by the attention scores.",
    run="mech.checks.hull",
    test=_all(
      Bound("outside the range of the values", high=1e-6),
      Bound("length beyond the longest value", high=1e-6),
      close=("error of the weighted sum",),
    ),
    measure="difference from the weighted sum; distance outside the convex bounds of the values",
    note="Per head and before the output matrix: behind it the bounds no longer apply.",
  ),
  _exact(
    id="MECH-7",
    place="D3-fact-2",
    statement="Heads compute weights and outputs separately; the outputs are joined and mapped linearly to one.",
    run="mech.checks.separate",
    test=_all(
      zero=("gradient by the weights of another head",),
      close=("joined and mapped", "sum over heads"),
      clear=("gradient by its own weights",),
    ),
    measure="joined output against the sum of the heads' contributions; gradients across heads",
  ),
  _exact(
    id="MECH-8",
    place="D1-11",
    statement="Queries and keys only set the attention weights; what is passed on is carried by the values.",
    run="mech.checks.content",
    test=Moderated(
      "what the values are computed from",
      {
        "token content": _all(
          zero=("weights after new values",),
          close=("output beyond what the weights explain",),
          clear=("weights after new queries and keys",),
        ),
        "position only": Bound("content in the output but not in the values", 0.0, CLEAR),
      },
    ),
    measure="change of weights and output when projections are exchanged; content in the output of content-free values",
    note="With values that know no content, whatever content the output shows has come through the weights.",
  ),
  _exact(
    id="MECH-9",
    place="D2a-6",
    statement="The feed-forward part has two fully connected layers and handles every token by itself.",
    run="mech.checks_sight.feedforward",
    test=_all(
      Bound("difference between positions", 0.0, 1e-6),
      Bound("fully connected layers", 2, 2),
      zero=("dependence on another token",),
      clear=("least dependence on itself",),
    ),
    measure="off-diagonal blocks of the Jacobian; equality of the map at all positions; number of matrices",
  ),
  _exact(
    id="MECH-10",
    place="D2a-9",
    statement="Encoder self-attention looks at every token of the input.",
    run="mech.checks_sight.encoder",
    test=_all(Bound("least weight in any head", 1e-30), clear=("weakest dependence on another token",)),
    measure="smallest change of any state when another token is exchanged; smallest weight in any head",
  ),
  _exact(
    id="MECH-11a",
    place="D2a-9",
    statement="A decoder's mask hides later tokens completely, so nothing leaks from them.",
    run="mech.checks_sight.causal",
    test=_all(
      zero=(
        "change of a stack with later tokens",
        "derivative by later tokens in float32",
        "derivative by later tokens in bfloat16",
        "weight on later tokens filled with minus infinity",
        "weight on later tokens filled with minus 1e9",
        "output of a row that sees nothing",
        "derivative of a row that sees nothing",
        "not finite",
      ),
      clear=("least change of a stack with earlier tokens",),
    ),
    measure="change and derivatives by later tokens, float32 and bfloat16; rows that see nothing; usual fills of "
    "masked scores",
    note="A row that may see nothing gives zeros here; overwriting its scores by -1e9 spreads it over forbidden keys.",
  ),
  _exact(
    id="MECH-13",
    place="D1-20",
    statement="To predict the next token the last decoder state goes through a linear map and a softmax.",
    run="mech.checks_model.readout",
    test=_all(
      Bound("error of the sum of probabilities", 0.0, 1e-6),
      zero=("another best token at another temperature",),
      close=("error of the linear layer", "error of the log odds times temperature"),
    ),
    measure="logits against the linear map; probabilities, best token and log odds under temperatures",
    identity=True,
  ),
  _exact(
    id="MECH-15",
    place="D1-17; D1-18; D1-19",
    statement="A Transformer is an encoder and a decoder stack, whose layers hold attention, feed-forward, residuals "
    "and norms.",
    run="mech.checks_model.structure",
    test=_all(
      Bound("encoder-decoder: stacks", 2, 2),
      zero=(
        "encoder layers: parts missing or beyond",
        "decoder layers: parts missing or beyond",
        "decoder: self-attention without mask",
        "block with zero weights differs from its input",
      ),
    ),
    measure="parts of each layer of our encoder-decoder; stacks of each kind of model",
    identity=True,
    contradicts=("GB-5",),
    note="Encoder-only and decoder-only models, counted beside it, have one stack.",
  ),
  _exact(
    id="MECH-16",
    place="D1-4; D1-5; D1-8",
    statement="A Transformer turns tokens into dense vectors, takes whole sequences and combines several attention "
    "outputs.",
    run="mech.checks_model.sequence",
    test=_all(
      Bound("attention outputs combined", 2),
      zero=("another length than the input",),
      close=(
        "difference when the end is left out",
        "embedding against one hot rows",
        "combined output against their sum",
      ),
    ),
    measure="inputs of several lengths with the same weights; embedding against one-hot rows; number of outputs "
    "combined",
  ),
  _exact(
    id="MECH-17a",
    place="D4b-1",
    statement="BERT needs no masking of attention scores, as hidden words are replaced in its input: it predicts from "
    "context.",
    run="mech.checks_sight.masking",
    test=_all(
      zero=("own word when replaced",),
      clear=("weakest context word when replaced", "own word with masked scores"),
    ),
    measure="change of the output at a hidden word with that word and with its context, replaced and with masked "
    "scores",
    note="Masked scores alone leave the word in its own query and residual. Padding is masked by scores in BERT, too.",
  ),
  *TRAINED,
)
