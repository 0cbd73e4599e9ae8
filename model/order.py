"""In which order the sublayers of a stack stand: attention and feed-forward in turn, or one of the odd orders.

With two layers: af = a f a f; fa = f a f a; aaff = a a f f, a sandwich (Press et al. 2020); p = both of a layer in
parallel, twice (Wang & Komatsuzaki 2021).
"""

import dataclasses

import jax

from model import schema
from model.errors import Refused


@dataclasses.dataclass(frozen=True)
class Wiring(schema.Wiring):
  """The wiring that a config asks for, and the order of sublayers that it makes."""

  def plan(self, depth: int) -> tuple[tuple[str, int], ...]:
    """(letter, layer) for each sublayer of a stack."""
    if fault := schema.wrong_order(self.order, depth):
      raise Refused(fault)
    layers = len(self.order) if set(self.order) == {"p"} else self.order.count("a")
    word = self.order * (depth // layers)
    return tuple((letter, word[:index].count(letter)) for index, letter in enumerate(word))


def run(plan, blocks, x_BTM, contexts, caches=None, key=None, inputs=None):
  """Sublayers in the order of the plan; returns (y_BTM, caches per layer).

  contexts, caches: one per layer. key: dropout, None = evaluation. inputs: a list to which the input of every attention
  sublayer is appended, layer by layer.
  """
  keys = [[None] * 3 if key is None else jax.random.split(one, 3) for one in _split(key, len(blocks))]
  caches = [(None, None)] * len(blocks) if caches is None else list(caches)
  for letter, layer in plan:
    block, of_layer = blocks[layer], keys[layer]
    if letter == "f":
      x_BTM = block.feed(x_BTM, of_layer[2])
      continue
    if inputs is not None:
      inputs.append(x_BTM)
    sublayer = block.attend_and_feed if letter == "p" else block.attend
    x_BTM, caches[layer] = sublayer(x_BTM, contexts[layer], caches[layer], of_layer[:2])
  return x_BTM, tuple(caches)


def _split(key, count: int) -> list:
  return [None] * count if key is None else list(jax.random.split(key, count))
