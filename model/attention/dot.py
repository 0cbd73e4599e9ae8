"""Scaled dot-product attention (Vaswani et al. 2017; unscaled: Luong et al. 2015): score = scale * q.k."""

from model.attention.mechanism import Mechanism
from model.initial import dial, param
from model.kernels.softmax import products


class Dot(Mechanism):
  """scale: None = 1/sqrt(D), 1.0 = unscaled. learned: a trained factor on top, which starts at 1."""

  cost_time = "T S D"
  cost_memory = "T S"

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0, scale: float | None = None, learned: bool = False):
    super().__init__(heads, head_dim, layer=layer)
    self.scale = dial(head_dim**-0.5 if scale is None else scale)
    if learned:
      self.factor = param((), "gain")
    self.learned = learned

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    scale = self.scale[...] * self.factor[...] if self.learned else self.scale[...]
    # The scale goes to q, which is smaller than the scores; rounding back to q's dtype keeps the product fast.
    score_BKGTS = products((scale * q_BTKGD).astype(q_BTKGD.dtype), k_BSKD)
    return score_BKGTS if isinstance(inside, float) else score_BKGTS + scale * inside
