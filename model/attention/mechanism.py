"""The interface of a mechanism: o = sum_s w v, w = softmax(score); what it can do, and what it refuses.

`attend`, `products` and the rest of the path that most mechanisms share stand in model/kernels/softmax.py.
"""

import dataclasses

import jax
from flax import nnx

from model.dropout import Dropout
from model.errors import Refused
from model.kernels import softmax
from model.kernels.softmax import attend as attend
from model.kernels.softmax import products as products
from model.mask import Mask, Rule, causal, everything

WEIGHTS = 0x77656967  # folded into the key of a sublayer, whose own dropout uses the key itself


@dataclasses.dataclass(frozen=True)
class Supports:
  """What a mechanism can do; each True is tested. `weights`: a "distribution" over keys, "signed" numbers or "none"."""

  causal: bool = True
  bidirectional: bool = True
  rules: bool = True  # any rule of mask.py, not only causal() and everything()
  cross: bool = True  # queries and keys of different sequences, in any order; if not, cross-attention is dot
  tied: bool = False  # the keys must be the queries: heads.py ties the two projections
  rotate: bool = True  # queries and keys turned by position
  inside: bool = True  # position terms added to q.k
  after: bool = True  # position terms added to the score
  values: bool = True  # position terms added to the output
  gqa: bool = True  # several queries per key head
  blockwise: bool = True  # `block` is obeyed
  merges: bool = True  # returns a log-sum-exp, so that parts of the keys merge
  dropout: bool = True  # loses weights in training (model.attention_dropout); a __call__ of one's own calls `dropped`
  state: bool = False  # decodes with a state of constant size in place of a cache of keys
  weights: str = "distribution"


class Mechanism(nnx.Module):
  """Turns queries, keys and values into outputs. Most mechanisms only define `scores`."""

  views = 1  # how many sets of q, k, v it reads; with more than one, q, k and v are tuples with one array per view
  symbols: tuple[int, ...] = ()  # tokens with one of these symbols in their first field are marked in Mask.mark_BS
  counts = False  # its pattern counts from the first key of a document, which must therefore be in sight
  supports = Supports()
  weights_dropout: Dropout | None = None  # heads.py sets it

  def __init__(self, heads: int, head_dim: int, *, layer: int = 0):
    self.heads, self.head_dim, self.layer = heads, head_dim, layer

  def scores(self, q_BTKGD, k_BSKD, inside=0.0):
    """Scores (B, K, G, T, S), float32 or wider, before any mask; keys are never repeated over G."""
    raise TypeError(f"{type(self).__name__} defines neither scores nor __call__")

  def __call__(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None, *, block=None, key=None):
    """Output (B, T, K, G, Dv) in v's dtype and log-sum-exp (B, K, G, T) in float32, -inf where nothing is seen.

    block: number of keys worked on at a time; None = all. key: of dropout on the weights, None = evaluation.
    """
    return attend(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme, block, key)

  def key_of_weights(self, key):
    """The key, or None where no weights are dropped, so that nothing is made of it."""
    return None if self.weights_dropout is None else key

  def dropped(self, w_BKGTS, key):
    """The weights as training sums them up, after dropout; key None = evaluation.

    As in PyTorch and in the 2017 code weights are lost behind the softmax: those left do not add up to one.
    """
    if self.weights_dropout is None or key is None:
      return w_BKGTS
    return self.weights_dropout(w_BKGTS, jax.random.fold_in(key, WEIGHTS))

  def turn(self, x_BTHD, positions, scheme):
    """Queries or keys of one view as the scheme turns them by their positions, (B, T, H, D)."""
    return scheme.rotate(x_BTHD, positions)

  def own_mask(self, mask: Mask) -> Mask:
    """What is seen once the mechanism's own pattern is taken into account; the efficient path must agree with it."""
    return mask

  def over_cache(self, q_BTKGD, k_BSKD, v_BSKD, mask, scheme=None):
    """The same answer over a cache: keys in any order, some of them empty. Costs T times S."""
    if self.supports.cross:
      return self(q_BTKGD, k_BSKD, v_BSKD, mask, scheme)
    return attend(self, q_BTKGD, k_BSKD, v_BSKD, self.own_mask(mask), scheme)

  def start(self, batch: int, kv_heads: int, value_dim: int, dtype):
    """The state that step-by-step decoding carries, batch first; for mechanisms that support `state`."""
    raise TypeError(f"{type(self).__name__} attention keeps no state")

  def advance(self, state, q_BTKGD, k_BSKD, v_BSKD, mask):
    """(output, state) after new keys, which the queries see causally; without keys (None) the state is only read."""
    raise TypeError(f"{type(self).__name__} attention keeps no state")

  def weights(self, q_BTKGD, k_BSKD, mask, scheme=None):
    """The distribution over keys, (B, K, G, T, S); rows that see nothing are 0."""
    self.check(scheme)
    return softmax.weights(self, q_BTKGD, k_BSKD, self.own_mask(mask), scheme)

  def check(self, scheme=None, rule: Rule | None = None, block: int | None = None):
    """Refuses a position scheme, a rule or a block that this mechanism has no place for."""
    name = type(self).__name__
    for hook, place in HOOKS.items():
      if scheme is not None and scheme.acts(hook) and not getattr(self.supports, hook):
        raise Refused(
          f"{name} attention has no place for what {type(scheme).__name__} positions {place}; "
          "use dot attention, or positions none, sinusoidal or learned"
        )
    if block is not None and not self.supports.blockwise:
      raise Refused(f"{name} attention does not work by blocks of keys: block={block}; use block=0")
    if block is not None and block < 1:
      raise Refused(f"block={block} holds no key; give the number of keys per block, or 0 in a config for all at once")
    plain = {causal(): self.supports.causal, everything(): self.supports.bidirectional}
    if rule is not None and not plain.get(rule, self.supports.rules):
      able = [
        word for word, can in (("causal", self.supports.causal), ("both ways", self.supports.bidirectional)) if can
      ]
      raise Refused(
        f"{name} attention cannot look by the rule {rule}; it looks {' or '.join(able)}, with model.window=0, "
        "model.segment=0 and model.itself=True"
      )


HOOKS = {"rotate": "turn", "inside": "add to q.k", "after": "add to the score", "values": "add to the output"}
