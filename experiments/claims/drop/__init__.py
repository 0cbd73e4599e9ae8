"""Dropout: what it prevents, its usual rates, its places, its test mode."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    id="DROP-1",
    document="D4",
    place="D4b-3",
    statement="Dropout reduces overfitting.",
    evidence="trial",
    measure="best validation loss and train-validation gap by rate and data size, both in evaluation mode",
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
    id="DROP-2a",
    document="D4",
    place="D4b-3",
    statement="Published Transformers usually drop 10 or 20 percent.",
    evidence="citation",
    measure="rates of published configurations",
    literature=(
      Literature(
        "0.1; 0.3", "base; big En-De", "Vaswani et al. 2017, 6.1, seen in copies of its text on GitHub", checked=True
      ),
    ),
  ),
  Claim(
    id="DROP-2b",
    document="extension",
    place="D4b-3",
    statement="Rates of .1 to .2 generalize best, and more dropout loses information.",
    evidence="trial",
    measure="best rate on validation data against data size",
  ),
  Claim(
    id="DROP-3",
    document="D4",
    place="D4b-3",
    statement="Dropout acts after each layer, between self-attention and the feed-forward network.",
    evidence="trial",
    measure="places in the published model; validation loss of three placements",
  ),
  Claim(
    id="DROP-4",
    document="D4",
    place="D4b-3",
    statement="At test time dropout must be switched off or rescaled, so that outputs are consistent.",
    evidence="check",
    measure="mean of the training output against three test modes for linear maps; repeatability of each",
    note="Three readings: off, classic dropout times the keep rate, and a lower rate. Scaling inverted dropout again"
    " is a fault.",
  ),
)
