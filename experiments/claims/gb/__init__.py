"""GPT and BERT: direction of context, architecture, strengths."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    "GB-1",
    "D2",
    "D2b-3",
    "GPT sees only the left context, BERT sees both sides.",
    "exact",
    "check",
    "blocks of the Jacobian of outputs by inputs, left and right of the diagonal",
  ),
  Claim(
    "GB-2",
    "D2",
    "D2b-3",
    "BERT is the better choice for understanding tasks such as classification and entity tagging.",
    "empirical",
    "trial",
    "tagging accuracy where the label depends on the right or on the left context; sentence classification",
  ),
  Claim(
    "GB-3",
    "D2",
    "D2b-3",
    "GPT is the better choice for generating text.",
    "empirical",
    "trial",
    "likelihood of samples under a hidden Markov source at equal sampling FLOPs, with a sweep curve for Gibbs",
  ),
  Claim(
    "GB-4",
    "D2",
    "D2b-6",
    "Reading context on both sides sets BERT apart from earlier language models, which read in one direction.",
    "cited",
    "citation",
    "directions of earlier published models",
    note="Its experiment is GB-7.",
  ),
  Claim(
    "GB-5",
    "D2",
    "D2b-3",
    "GPT is a Transformer decoder without encoder, BERT an encoder without decoder.",
    "exact",
    "check",
    "difference of outputs with equal weights and equal mask; cross-attention parameters in either",
    contradicts=("MECH-15",),
  ),
  Claim(
    "GB-6",
    "D2",
    "D2b-3",
    "As pre-trained systems, GPT leads on generation and BERT on understanding.",
    "empirical",
    "trial",
    "interaction of objective and task at equal parameters, tokens and FLOPs",
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
    "GB-7",
    "D2",
    "D2b-6",
    "Attending jointly to left and right beats joining two one-directional readings.",
    "empirical",
    "trial",
    "accuracy on equality of a left and a right cue with a linear read-out, equal parameters",
  ),
)
