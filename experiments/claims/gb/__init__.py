"""GPT and BERT: direction of context, architecture, strengths."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    id="GB-1",
    document="D2",
    place="D2b-3",
    statement="GPT sees only the left context, BERT sees both sides.",
    evidence="check",
    measure="blocks of the Jacobian of outputs by inputs, left and right of the diagonal",
  ),
  Claim(
    id="GB-2",
    document="D2",
    place="D2b-3",
    statement="BERT is the better choice for understanding tasks such as classification and entity tagging.",
    evidence="trial",
    measure="tagging accuracy where the label depends on the right or on the left context; sentence classification",
  ),
  Claim(
    id="GB-3",
    document="D2",
    place="D2b-3",
    statement="GPT is the better choice for generating text.",
    evidence="trial",
    measure="likelihood of samples under a hidden Markov source at equal sampling FLOPs, with a sweep curve for Gibbs",
  ),
  Claim(
    id="GB-4",
    document="D2",
    place="D2b-6",
    statement="Reading context on both sides sets BERT apart from earlier language models, which read in one "
    "direction.",
    evidence="citation",
    measure="directions of earlier published models",
    note="Its experiment is GB-7.",
  ),
  Claim(
    id="GB-5",
    document="D2",
    place="D2b-3",
    statement="GPT is a Transformer decoder without encoder, BERT an encoder without decoder.",
    evidence="check",
    measure="difference of outputs with equal weights and equal mask; cross-attention parameters in either",
    contradicts=("MECH-15",),
  ),
  Claim(
    id="GB-6",
    document="D2",
    place="D2b-3",
    statement="As pre-trained systems, GPT leads on generation and BERT on understanding.",
    evidence="trial",
    measure="interaction of objective and task at equal parameters, tokens and FLOPs",
    literature=(
      Literature(
        "77.8, 77.5 against 88.5, 86.7",
        "SQuAD, MRPC, left-to-right; BERT",
        "Devlin et al. 2019, Table 5, seen in public notes on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="GB-7",
    document="D2",
    place="D2b-6",
    statement="Attending jointly to left and right beats joining two one-directional readings.",
    evidence="trial",
    measure="accuracy on equality of a left and a right cue with a linear read-out, equal parameters",
  ),
)
