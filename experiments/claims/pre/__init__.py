"""Pre-training objectives: masked, autoregressive, sequence to sequence, next sentence."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    id="PRE-1",
    document="D2",
    place="D2b-6; D2b-11",
    statement="Masked language modeling trains an encoder to predict hidden tokens from both sides.",
    evidence="trial",
    measure="cross-entropy at masked tokens above the exact two-sided posterior of a hidden Markov source",
  ),
  Claim(
    id="PRE-2",
    document="D2",
    place="D2b-3; D2b-11",
    statement="Autoregressive models learn to predict each next token.",
    evidence="trial",
    measure="validation cross-entropy above the entropy rate of the source",
  ),
  Claim(
    id="PRE-3",
    document="D2",
    place="D2b-11",
    statement="One encoder-decoder serves generation and understanding alike.",
    evidence="trial",
    measure="non-inferiority to a specialist of equal size on each task",
    literature=(
      Literature(
        "one text-to-text model on all tasks",
        "",
        "Raffel et al. 2020, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="PRE-4a",
    document="D2",
    place="D2b-6",
    statement="BERT was pre-trained on masked language modeling and next sentence prediction.",
    evidence="citation",
    measure="objectives named in the publication",
  ),
  Claim(
    id="PRE-4b",
    document="extension",
    place="D2b-6",
    statement="Next sentence prediction adds downstream value beyond masked language modeling.",
    evidence="trial",
    measure="downstream accuracy at equal compute and equal input packing",
    literature=(
      Literature(
        "88.4 to 84.9; 84.4 to 83.9; 88.5 to 87.9",
        "QNLI; MNLI; SQuAD without it",
        "Devlin et al. 2019, Table 5, seen in public notes on GitHub",
        checked=True,
      ),
      Literature(
        "no loss without it", "", "Liu et al. 2019 (RoBERTa), 4.2, seen in public notes on GitHub", checked=True
      ),
    ),
  ),
  Claim(
    id="PRE-5",
    document="D2",
    place="D2b-11",
    statement="A T5-style sequence-to-sequence objective works as pre-training for both kinds of task.",
    evidence="trial",
    measure="span corruption against prefix modeling and denoising at equal tokens, on two downstream tasks",
    literature=(
      Literature(
        "denoising above language modeling",
        "",
        "Raffel et al. 2020, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
)
