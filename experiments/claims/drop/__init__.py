"""Dropout: what it prevents, its usual rates, its places, its test mode."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    "DROP-1",
    "D4",
    "D4b-3",
    "Dropout reduces overfitting.",
    "empirical",
    "trial",
    "best validation loss and train-validation gap by rate and data size, both in evaluation mode",
    literature=(
      Literature(
        "24.6; 25.8; 25.5",
        "BLEU at rate 0; .1; .2",
        "Vaswani et al. 2017, Table 3(D), seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    "DROP-2a",
    "D4",
    "D4b-3",
    "Published Transformers usually drop 10 or 20 percent.",
    "cited",
    "citation",
    "rates of published configurations",
    literature=(
      Literature(
        "0.1; 0.3", "base; big En-De", "Vaswani et al. 2017, 6.1, seen in copies of its text on GitHub", checked=True
      ),
    ),
  ),
  Claim(
    "DROP-2b",
    "extension",
    "D4b-3",
    "Rates of .1 to .2 generalize best, and more dropout loses information.",
    "empirical",
    "trial",
    "best rate on validation data against data size",
  ),
  Claim(
    "DROP-3",
    "D4",
    "D4b-3",
    "Dropout acts after each layer, between self-attention and the feed-forward network.",
    "empirical",
    "trial",
    "places in the published model; validation loss of three placements",
  ),
  Claim(
    "DROP-4",
    "D4",
    "D4b-3",
    "At test time dropout must be switched off or rescaled, so that outputs are consistent.",
    "exact",
    "check",
    "mean of the training output against three test modes for linear maps; repeatability of each",
    note="Three readings: off, classic dropout times the keep rate, and a lower rate. Scaling inverted dropout again"
    " is a fault.",
  ),
)
