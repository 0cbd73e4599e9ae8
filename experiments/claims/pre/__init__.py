"""Pre-training objectives: masked, autoregressive, sequence to sequence, next sentence."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    "PRE-1",
    "D2",
    "D2b-6; D2b-11",
    "Masked language modeling trains an encoder to predict hidden tokens from both sides.",
    "empirical",
    "trial",
    "cross-entropy at masked tokens above the exact two-sided posterior of a hidden Markov source",
  ),
  Claim(
    "PRE-2",
    "D2",
    "D2b-3; D2b-11",
    "Autoregressive models learn to predict each next token.",
    "empirical",
    "trial",
    "validation cross-entropy above the entropy rate of the source",
  ),
  Claim(
    "PRE-3",
    "D2",
    "D2b-11",
    "One encoder-decoder serves generation and understanding alike.",
    "empirical",
    "trial",
    "non-inferiority to a specialist of equal size on each task",
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
    "PRE-4a",
    "D2",
    "D2b-6",
    "BERT was pre-trained on masked language modeling and next sentence prediction.",
    "cited",
    "citation",
    "objectives named in the publication",
  ),
  Claim(
    "PRE-4b",
    "extension",
    "D2b-6",
    "Next sentence prediction adds downstream value beyond masked language modeling.",
    "empirical",
    "trial",
    "downstream accuracy at equal compute and equal input packing",
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
    "PRE-5",
    "D2",
    "D2b-11",
    "A T5-style sequence-to-sequence objective works as pre-training for both kinds of task.",
    "empirical",
    "trial",
    "span corruption against prefix modeling and denoising at equal tokens, on two downstream tasks",
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
