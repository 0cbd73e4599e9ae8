"""Residual connections: gradients, convergence, and what a block does without its sublayer."""

from experiments.claim import Claim

CLAIMS = (
  Claim(
    "RES-1",
    "D1",
    "D1-15; D2a-4",
    "Residual connections counter vanishing gradients in deep stacks.",
    "empirical",
    "probe",
    "norm of the loss gradient at the input against depth, at initialization, per norm placement",
    note="Weight-gradient ratios between first and last layer are blind to this: the input's gradient is used."
    " Vanishing and exploding are separate rules.",
  ),
  Claim(
    "RES-2",
    "D2",
    "D2a-4",
    "Residual connections make training converge sooner.",
    "empirical",
    "trial",
    "restricted mean time to 90 % accuracy, with easy depths at which both arms finish",
  ),
  Claim(
    "RES-3",
    "D1",
    "D1-15",
    "Adding each sublayer's input to its output makes training more stable.",
    "empirical",
    "trial",
    "number of learning rates, per seed, at which training succeeds",
  ),
  Claim(
    "RES-4",
    "D1",
    "D1-15; D2a-4",
    "A residual block returns its input plus what the sublayer computes from it.",
    "exact",
    "check",
    "difference from the identity with the sublayer zeroed; Jacobian minus that of the sublayer",
    note="Post-norm blocks return the normalized input instead.",
  ),
)
