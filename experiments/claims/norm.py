"""Layer normalization: its statistics, its effect on training and gradients, its placement."""

from experiments.claim import Claim, Literature

CLAIMS = (
  Claim(
    "NORM-1",
    "D2",
    "D2a-7",
    "Layer normalization gives every layer's output a fixed mean and variance.",
    "exact",
    "check",
    "mean and variance of each token's features, before and after gain and bias, at start and after training",
  ),
  Claim(
    "NORM-2",
    "D1",
    "D1-16; D2a-7",
    "Layer normalization makes training steadier and faster.",
    "empirical",
    "trial",
    "restricted mean time to target and usable learning rates, none against post and pre, per depth",
    contradicts=("NORM-5",),
    note="An arm without normalization but with depth-scaled initialization separates the norm from mere scale.",
  ),
  Claim(
    "NORM-3",
    "D2",
    "D2a-7",
    "Layer normalization lowers the risk that gradients vanish or explode.",
    "empirical",
    "probe",
    "gradient norm against depth, by placement, with and without residuals",
    contradicts=("NORM-5",),
    literature=(
      Literature("post-LN is a source of vanishing gradients", "", "Takase et al. 2022, abstract", checked=True),
      Literature("O(d sqrt(ln d)) against O(d sqrt(ln d / L))", "last-layer gradient, post; pre", "Xiong et al. 2020"),
    ),
  ),
  Claim(
    "NORM-4",
    "extension",
    "D1-16; D2b-1",
    "Learning-rate warm-up gains more with normalization after the sublayer than before it.",
    "empirical",
    "trial",
    "interaction of warm-up and placement on loss averaged over a common window of learning rates",
    literature=(
      Literature("pre-LN trains without the warm-up stage", "", "Xiong et al. 2020, abstract", checked=True),
      Literature("8.45 against about 34", "BLEU IWSLT14 De-En, post-LN without; with warm-up", "Xiong et al. 2020"),
    ),
    note="Crosses two documents' statements, neither of which makes this one.",
  ),
  Claim(
    "NORM-5",
    "D1",
    "D1-16; D2a-7",
    "What layer normalization normalizes is the output of the sublayer.",
    "exact",
    "check",
    "the tensor each placement normalizes: the sum after the sublayer, or the sublayer's input",
    contradicts=("NORM-2", "NORM-3"),
  ),
)
