"""The feed-forward network: what it is for, its order, its activation function."""

from experiments.claim import Claim, Literature

CLAIMS = (
  Claim(
    "FFN-1",
    "extension",
    "D2a-6",
    "ReLU and GELU lead to the same quality.",
    "empirical",
    "trial",
    "accuracy difference inside a margin, with a known worse arm outside it",
    literature=(Literature("small gains of gated units over both", "", "Shazeer 2020; Narang et al. 2021"),),
    note="Nobody stated this; the documents' convention is FFN-4a.",
  ),
  Claim(
    "FFN-2",
    "D1",
    "D1-14",
    "After attention a feed-forward network processes the result further: it computes what attention alone cannot.",
    "empirical",
    "trial",
    "accuracy on the modular sum of two attended values, against a linear network of equal size and wider attention",
  ),
  Claim(
    "FFN-3",
    "extension",
    "D1-14",
    "Placing the feed-forward network after attention, rather than before or beside it, matters for quality.",
    "empirical",
    "trial",
    "loss of four orders of sublayers at equal parameters, with an arm that has no feed-forward network",
    note="The documents give the usual order as a convention and claim nothing about other orders.",
  ),
  Claim(
    "FFN-4a",
    "D2",
    "D2a-6",
    "Published Transformers usually put ReLU or GELU between the two layers.",
    "cited",
    "citation",
    "share of at least fifteen published configurations, by date",
  ),
  Claim(
    "FFN-4b",
    "extension",
    "D2a-6",
    "Some non-linearity is needed: with the identity in its place the two layers collapse into one matrix.",
    "empirical",
    "trial",
    "accuracy on the modular sum, identity against ReLU at equal parameters; exact linearity beside it",
  ),
)
