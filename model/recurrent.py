"""What recurrent models are built of: layers of cells, and attention after them.

y_t = tanh(W [a_t; h_t]), a_t = attention(h_t, memory) (Luong et al. 2015).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from model import build
from model.block import heads_of
from model.cell.cell import Carry
from model.dropout import Dropout
from model.errors import Refused
from model.linear import Linear
from model.mask import Mask, Positions, Rule, causal, everything


class Recurrent(nnx.Module):
  """Layers of cells. direction: "forward"; "both" ways, joined in every layer (Schuster & Paliwal 1997); "apart", two
  stacks that meet at the top only (ELMo, Peters et al. 2018). Each of two ways has half the width.

  Dropout stands on the input of every layer and on the output (Zaremba et al. 2014). extra: further inputs of the
  first layer, which the caller provides.
  """

  def __init__(self, settings, *, direction: str, extra: int = 0):
    width, depth = settings["width"], settings["depth"]
    self.two_ways, self.apart = direction != "forward", direction == "apart"
    if self.two_ways and width % 2:
      raise Refused(f"model.width={width} cannot be shared by two directions; use an even width, or direction=forward")
    self.rule: Rule = everything() if self.two_ways else causal()
    hidden = width // 2 if self.two_ways else width

    def stack():
      below = [width + extra] + [hidden if self.apart else width] * (depth - 1)
      return nnx.List(build.make("cell", settings["cell"], width=inputs, hidden=hidden) for inputs in below)

    self.forward = stack()
    self.backward = stack() if self.two_ways else None
    self.dropout = Dropout(settings["dropout"]) if settings["dropout"] > 0 else None

  def start(self, batch: int, dtype) -> tuple[Carry, ...]:
    """A carry that has seen nothing, per layer."""
    if self.two_ways:
      raise Refused("a recurrent model of two directions cannot go on step by step; use model.direction=forward")
    return tuple(cell.start(batch, dtype) for cell in self.forward)

  def __call__(self, x_BTM, positions: Positions, *, carry=None, begin=None, key=None):
    """Returns (h_BTM, carry). carry: from `start`; begin: the states in which segments start, (B, T, H), per layer."""
    if carry is not None and self.two_ways:
      raise Refused("a recurrent model of two directions has no carry; use model.direction=forward")
    keys, flows, after = self.keys(key), [x_BTM], []
    for layer in range(len(self.forward)):
      flows = [self.drop(flow_BTM, keys[layer], way) for way, flow_BTM in enumerate(flows)]
      here = (None if carry is None else carry[layer], None if begin is None else begin[layer])
      flows, last = self._layer(layer, flows, positions, *here)
      after.append(last)
    return self.drop(jnp.concatenate(flows, -1), keys[-1]), None if carry is None else tuple(after)

  def _layer(self, layer: int, flows, positions, carry, begin):
    """(outputs, carry) of one layer; outputs of two ways stay apart, or are joined."""
    h_BTH, carry = self.forward[layer].run(flows[0], positions, carry, begin=begin)
    if self.backward is None:
      return [h_BTH], carry
    both = [h_BTH, self.backward[layer].run(flows[-1], positions, reverse=True)[0]]
    return (both if self.apart else [jnp.concatenate(both, -1)]), carry

  def keys(self, key) -> Any:
    """One key of dropout for the input of each layer and one for the output."""
    places = len(self.forward) + 1
    return [None] * places if key is None else jax.random.split(key, places)

  def drop(self, x, key, way: int = 0):
    """Dropout; two flows side by side lose different numbers."""
    return x if self.dropout is None or key is None else self.dropout(x, jax.random.fold_in(key, way))


class Reading(nnx.Module):
  """Luong et al. 2015: y_t = tanh(W [a_t; h_t]), where a_t is what attention answers to h_t."""

  def __init__(self, settings, *, cross: bool):
    self.heads = heads_of(settings, cross=cross)
    self.join = Linear(2 * settings["width"], settings["width"], bias=False)

  def __call__(self, h_BTM, memory_BSM, mask: Mask, *, cache=None, key=None, record=None, name: str):
    """Returns (y_BTM, cache); records are called `name`."""
    found = None if record is None else []
    a_BTM, cache = self.heads(h_BTM, memory_BSM, mask, cache=cache, record=found, key=key)
    named(record, found, name)
    return jnp.tanh(self.join(jnp.concatenate([a_BTM, h_BTM], -1))), cache


def named(record: list | None, found: list | None, name: str) -> None:
  """Adds what attention recorded to the record, under the name of its place."""
  if record is not None:
    record.extend(entry | {"name": name} for entry in found or [])
