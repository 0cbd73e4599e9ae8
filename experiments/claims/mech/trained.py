"""The rows of group MECH that need trained models."""

from experiments.protocol.claim import Claim, Literature

TRAINED = (
  Claim(
    id="MECH-11b",
    document="D2",
    place="D2a-9",
    statement="Without that mask training leaks: the loss falls below what honest prediction allows and samples are "
    "worthless.",
    evidence="trial",
    measure="training loss and sample quality on a Markov source of known entropy, with and without the mask",
  ),
  Claim(
    id="MECH-12",
    document="D2",
    place="D2a-8; D2a-9",
    statement="Cross-attention lets the decoder concentrate on the parts of the source that matter for the next token.",
    evidence="probe",
    measure="accuracy against a decoder fed one fixed vector, by length; agreement of each head's alignment with the "
    "right one",
    literature=(Literature("alignments shifted by one step", "", "Chen et al. 2020", checked=True),),
    note="The best head is chosen on validation data.",
  ),
  Claim(
    id="MECH-14",
    document="D1",
    place="D1-21",
    statement="Minimizing cross-entropy brings predictions to the distribution the targets come from.",
    evidence="trial",
    measure="validation loss above the exact entropy of a Markov source, as a share of it, from both sides",
  ),
  Claim(
    id="MECH-17b",
    document="D4",
    place="D4b-1",
    statement="Hiding a word by masking its scores alone, in place of replacing it, lets the model copy the answer.",
    evidence="trial",
    measure="loss at hidden words after training with either kind of hiding, against the exact floor",
    note="Schemes that mask scores without this leak exist (two streams in XLNet).",
  ),
  Claim(
    id="MECH-18",
    document="D0",
    place="D0-1; D1-10",
    statement="The weight a trained model gives a token tells how important that token is for the output.",
    evidence="probe",
    measure="rank correlation of weight and leave-one-out effect, by depth and with a redundant cue",
    literature=(
      Literature(
        "weights are no explanation",
        "",
        "Jain and Wallace 2019, quoted at aclanthology.org/D19-1002; Serrano and Smith 2019, seen in notes on GitHub",
        checked=True,
      ),
      Literature(
        "weights can be an explanation",
        "",
        "Wiegreffe and Pinter 2019, abstract seen at aclanthology.org/D19-1002",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="MECH-19",
    document="D0",
    place="D0-1",
    statement="Attention helps a model grasp the meaning that context gives a word.",
    evidence="trial",
    measure="accuracy on words whose sense a distant cue decides, against feed-forward, mean-pooled and convolutional "
    "models",
  ),
  Claim(
    id="MECH-20",
    document="D2",
    place="D2a-8",
    statement="A decoder writes its output by attending to the source and to what it has already produced.",
    evidence="trial",
    measure="excess loss without decoder self-attention, on targets with and without a dependency of their own",
  ),
  Claim(
    id="MECH-21",
    document="D4",
    place="D4b-1",
    statement="Pre-training on masked input improves a model's grasp of context.",
    evidence="probe",
    measure="probe of a neighbor's latent class on frozen states, against copying, random tokens and random encoders",
  ),
)
