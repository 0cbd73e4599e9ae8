"""Optimization: schedules, warm-up, divergence, overfitting."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    id="OPT-1",
    document="D2",
    place="D2b-1",
    statement="Raising the learning rate gradually at the start steadies training and keeps it from diverging.",
    evidence="trial",
    measure="failures per seed with and without warm-up, at rates fixed on tuning seeds on either side of the stable "
    "limit",
    contradicts=("OPT-7",),
    literature=(
      Literature(
        "8.45 against about 34",
        "BLEU IWSLT14 De-En, post-LN without; with warm-up",
        "Xiong et al. 2020, 3.2, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="OPT-2",
    document="D2",
    place="D2b-1",
    statement="Decay by cosine or exponential lets the model settle more finely at the end than a constant rate.",
    evidence="trial",
    measure="final validation loss on unlimited data, each schedule at its best rate",
  ),
  Claim(
    id="OPT-3",
    document="D2",
    place="D2b-1",
    statement="Lowering the learning rate late in training removes oscillation.",
    evidence="trial",
    measure="detrended spread of the validation loss over the last fifth of training",
  ),
  Claim(
    id="OPT-4a",
    document="D2",
    place="D2b-1",
    statement="Lowering the learning rate late in training leaves the final model less overfitted.",
    evidence="trial",
    measure="final validation loss on limited data at equal steps",
  ),
  Claim(
    id="OPT-4b",
    document="D2",
    place="D2b-1",
    statement="Learning-rate decay itself, not merely training less, is what prevents overfitting.",
    evidence="trial",
    measure="best validation loss, and validation loss at fixed training losses",
    literature=(
      Literature("a large initial rate suppresses memorizing noise", "image networks", "You et al. 2019", checked=True),
      Literature(
        "large-then-small rates generalize better than small ones",
        "image networks",
        "Li et al. 2019, abstract seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="OPT-5",
    document="D0",
    place="D0-5",
    statement="Too high a learning rate makes gradients explode until the loss is NaN.",
    evidence="trial",
    measure="share of non-finite runs against learning rate, by optimizer and normalization, seed as block",
    note="Largest and 99th-percentile gradient norms over training, before clipping, stand beside it.",
  ),
  Claim(
    id="OPT-6",
    document="D0",
    place="D0-4",
    statement="Validation loss that rises while training loss falls shows that the model overfits.",
    evidence="trial",
    measure="final minus best validation loss, step chosen on another split; unlimited data as control",
  ),
  Claim(
    id="OPT-7",
    document="D4",
    place="D4b-3",
    statement="The Transformer's learning rate falls gradually over training.",
    evidence="check",
    measure="sign of the step-to-step change of the published schedule",
    contradicts=("OPT-1",),
    literature=(
      Literature(
        "4000",
        "warm-up steps before the inverse square root",
        "Vaswani et al. 2017, 5.3, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="OPT-8",
    document="D2",
    place="D2b-1",
    statement="Adapting the learning rate during training improves convergence.",
    evidence="trial",
    measure="restricted mean time to a target loss",
  ),
  Claim(
    id="OPT-9",
    document="D0",
    place="D0-5",
    statement="When the loss turns NaN after some epochs, a very high learning rate is the likeliest cause.",
    evidence="trial",
    measure="first non-finite step and gradient norms before it, for a panel of causes",
  ),
  Claim(
    id="OPT-10",
    document="D0",
    place="D0-4",
    statement="Diverging training and validation curves imply that the training data are fitted too closely.",
    evidence="trial",
    measure="the same curve pattern under distribution shift and under over-confidence, with a certificate of "
    "memorization",
  ),
  Claim(
    id="OPT-11",
    document="D4",
    place="D4b-3",
    statement="The decaying schedule used for Transformers makes late training more stable.",
    evidence="trial",
    measure="final loss and late spread of the inverse square root with warm-up, beside the other schedules",
  ),
)
