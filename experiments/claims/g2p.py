"""The same claims on real text: English words to phonemes (CMUdict)."""

from experiments.claim import Claim

CLAIMS = (
  Claim(
    "G2P-HEAD",
    "D0",
    "D0-3; D3-definition; D3-answer-1",
    "Several heads pronounce unseen English words better than one head of equal size.",
    "empirical",
    "trial",
    "phoneme and word error on held-out words, at fixed width",
  ),
  Claim(
    "G2P-ADD",
    "D2",
    "D2a-5; D4a-3; D4b-2",
    "On pronouncing English words scaled dot-product attention does as well as additive and better than unscaled.",
    "empirical",
    "trial",
    "phoneme and word error on held-out words, scaled, unscaled and additive with one head",
  ),
  Claim(
    "G2P-RNN",
    "D2",
    "D2b-4; D2b-5",
    "A Transformer pronounces unseen English words better than a recurrent encoder-decoder.",
    "empirical",
    "trial",
    "phoneme and word error on held-out words, at equal parameters and at equal time",
  ),
)
