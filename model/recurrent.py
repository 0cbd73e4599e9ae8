"""Recurrent models, with attention or without: Rnn, a language model or tagger, and RnnSeq2Seq (Sutskever et al. 2014).

Attention after the cells: y_t = tanh(W [a_t; h_t]), a_t = attention(h_t, memory) (Luong et al. 2015). Before them:
h_t = cell([x_t; a_t], h_{t-1}), a_t = attention(h_{t-1}, memory) (Bahdanau et al. 2015).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from model import build
from model.block import heads_of
from model.cell.cell import Carry, State, entered, marked
from model.dropout import Dropout
from model.errors import Refused
from model.heads import Heads
from model.language import Embedding, Inputs, Readout
from model.linear import Linear
from model.see import Rule, See, Where, causal, everything
from model.vocabulary import Vocabulary


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

  def __call__(self, x_BTM, where: Where, *, carry=None, begin=None, key=None):
    """Returns (h_BTM, carry). carry: from `start`; begin: the states in which segments start, (B, T, H), per layer."""
    if carry is not None and self.two_ways:
      raise Refused("a recurrent model of two directions has no carry; use model.direction=forward")
    keys, flows, after = self.keys(key), [x_BTM], []
    for layer in range(len(self.forward)):
      flows = [self.drop(flow_BTM, keys[layer], way) for way, flow_BTM in enumerate(flows)]
      here = (None if carry is None else carry[layer], None if begin is None else begin[layer])
      flows, last = self._layer(layer, flows, where, *here)
      after.append(last)
    return self.drop(jnp.concatenate(flows, -1), keys[-1]), None if carry is None else tuple(after)

  def _layer(self, layer: int, flows, where, carry, begin):
    """(outputs, carry) of one layer; outputs of two ways stay apart, or are joined."""
    h_BTH, carry = self.forward[layer].run(flows[0], where, carry, begin=begin)
    if self.backward is None:
      return [h_BTH], carry
    both = [h_BTH, self.backward[layer].run(flows[-1], where, reverse=True)[0]]
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

  def __call__(self, h_BTM, memory_BSM, see: See, *, cache=None, key=None, record=None, name: str):
    """Returns (y_BTM, cache); records are called `name`."""
    found = None if record is None else []
    a_BTM, cache = self.heads(h_BTM, memory_BSM, see, cache=cache, record=found, key=key)
    _named(record, found, name)
    return jnp.tanh(self.join(jnp.concatenate([a_BTM, h_BTM], -1))), cache


class Rnn(nnx.Module):
  """Cells and, with reads = "after", attention over their own outputs: of earlier tokens, or of all in two ways."""

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    if settings["reads"] == "before":
      raise Refused("model.reads=before needs a source to read, which kind=rnn has not; use after or none")
    self.vocabulary = vocabulary
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.decoder = Recurrent(settings, direction=settings["direction"])
    self.reading = Reading(settings, cross=False) if settings["reads"] == "after" else None
    if self.reading is not None:
      self.reading.heads.mechanism.admit(rule=self.decoder.rule)
    self.readout = Readout(settings["width"], vocabulary)

  def start(self, batch: int, length: int) -> tuple:
    """An empty carry; attention has room for `length` tokens."""
    dtype = self.embedding.dtype
    cache = None if self.reading is None else self.reading.heads.empty_cache(batch, length, dtype)
    return self.decoder.start(batch, dtype), cache

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry, which holds the tokens seen so far when one was given."""
    layers, cache = (None, None) if carry is None else carry
    x_BTM, where = self.embedding(inputs.tokens_BTC), inputs.where
    h_BTM, layers = self.decoder(x_BTM, where, carry=layers, key=key)
    if self.reading is not None:
      see = See(where, where, self.decoder.rule, self.reading.heads.marks(inputs.tokens_BTC))
      told = {"cache": cache, "record": record, "name": "decoder/self"}
      h_BTM, cache = self.reading(h_BTM, h_BTM, see, key=key, **told)
    return self.readout(h_BTM), None if carry is None else (layers, cache)


class Source(NamedTuple):
  """What a decoder knows of the source; every leaf has the batch as axis 0.

  states: those in which the decoder starts, per layer (B, S, H), the same at all tokens of a segment. The memory is
  there as it is, or as keys and values in a cache.
  """

  states: tuple[State, ...]
  where: Where
  memory_BSM: jax.Array | None = None
  cache: Any = None

  def begin(self, where: Where) -> tuple[State, ...]:
    """The states of each token's segment, (B, T, H); zeros where the source has no such segment."""
    column_BT, found_BT = _edge(self.where, where, last=True)

    def take(a_BSH):
      return jnp.where(found_BT[..., None], jnp.take_along_axis(a_BSH, column_BT[..., None], 1), 0)

    return jax.tree.map(take, self.states)


class Decoder(nnx.Module):
  """Cells that start where the encoder ended: s_0 = tanh(W e + b), e its outputs at both ends of the segment.

  With reads = "after" they are followed by attention over the memory, in the same segment.
  """

  def __init__(self, settings, *, extra: int = 0):
    self.recurrent = Recurrent(settings, direction="forward", extra=extra)
    self.two_ways = settings["direction"] != "forward"  # of the encoder
    cells = self.recurrent.forward
    self.parts = tuple((i, name) for i, cell in enumerate(cells) for name in cell.rest(1, jnp.float32))
    self.bridge = Linear(settings["width"], len(self.parts) * settings["width"])
    self.reading = Reading(settings, cross=True) if settings["reads"] == "after" else None

  def heads(self) -> Heads | None:
    """What looks at the memory."""
    return None if self.reading is None else self.reading.heads

  def read(self, memory_BSM, memory_where: Where) -> Source:
    """The source that the encoder made `memory_BSM` of."""
    batch, length, _ = memory_BSM.shape
    where = Where(*(jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, length)) for a in memory_where))
    return Source(self._starts(memory_BSM, where), where, memory_BSM)

  def cached(self, source: Source) -> Source:
    """With the keys and values of the memory, computed once, in its place."""
    heads, memory_BSM = self.heads(), source.memory_BSM
    if heads is None or memory_BSM is None:
      return source._replace(memory_BSM=None)
    see = See(source.where.at(slice(1)), source.where, everything())
    empty = heads.empty_cache(memory_BSM.shape[0], memory_BSM.shape[1], memory_BSM.dtype)
    # One query, whose answer nobody reads, fills the cache.
    _, cache = heads(jnp.zeros_like(memory_BSM[:, :1]), memory_BSM, see, cache=empty)
    return source._replace(memory_BSM=None, cache=cache)

  def __call__(self, x_BTM, where: Where, source: Source, *, carry=None, key=None, record=None):
    """Returns (y_BTM, carry), the carry of the cells."""
    y_BTM, carry = self.recurrent(x_BTM, where, carry=carry, begin=source.begin(where), key=key)
    if self.reading is not None:
      see = See(where, source.where, everything())
      place = {"cache": source.cache, "record": record, "name": "decoder/cross"}
      y_BTM, _ = self.reading(y_BTM, source.memory_BSM, see, key=key, **place)
    return y_BTM, carry

  def _starts(self, memory_BSM, where: Where) -> tuple[State, ...]:
    """Of the way forward the output at the last token of a segment counts, of the way back that at the first."""
    ways = jnp.split(memory_BSM, 2, -1) if self.two_ways else [memory_BSM]
    columns = [_edge(where, where, last=way == 0)[0][..., None] for way in range(len(ways))]
    ends = [jnp.take_along_axis(way_BSH, column_BS1, 1) for way_BSH, column_BS1 in zip(ways, columns, strict=True)]
    starts = jnp.split(jnp.tanh(self.bridge(jnp.concatenate(ends, -1))), len(self.parts), -1)
    states: list[State] = [{} for _ in self.recurrent.forward]
    for (layer, name), start_BSH in zip(self.parts, starts, strict=True):
      states[layer][name] = start_BSH
    return tuple(states)


class Before(Decoder):
  """Reads the memory before each step: the last output asks, the answer is a further input of the first layer."""

  def __init__(self, settings):
    super().__init__(settings, extra=settings["width"])
    self.asking = heads_of(settings, cross=True)

  def heads(self) -> Heads:
    return self.asking

  def __call__(self, x_BTM, where, source, *, carry=None, key=None, record=None):
    batch, length, _ = x_BTM.shape
    where = Where(*(jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, length)) for a in where))
    layers = self.recurrent.start(batch, x_BTM.dtype) if carry is None else carry
    marks, segment_B = marked(where.segment_BT, layers[0].segment_B)
    keys = self.recurrent.keys(key)
    x_TBM = jnp.swapaxes(self.recurrent.drop(x_BTM, keys[0]), 0, 1)
    begin, where_TB = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (source.begin(where), where))
    inner = None if keys[0] is None else jax.random.split(jax.random.fold_in(keys[0], 1), (length, len(layers)))
    entering = (self.recurrent.forward[0].enter(x_TBM), marks, begin, where_TB, inner)
    step = self._step(x_BTM.dtype, source if source.memory_BSM is None else self.cached(source), record is not None)
    states, (h_TBM, found) = jax.lax.scan(step, tuple(layer.state for layer in layers), entering)
    _named(record, [_over_time(found)] if found else [], "decoder/cross")
    y_BTM = jnp.swapaxes(jnp.where(marks.real_TB1, h_TBM, 0).astype(x_BTM.dtype), 0, 1)
    after = None if carry is None else tuple(Carry(state, segment_B) for state in states)
    return self.recurrent.drop(y_BTM, keys[-1]), after

  def _step(self, dtype, source: Source, recorded: bool):
    """The step of all layers at one time: (states, what enters) -> (states, (output, record))."""
    cells = list(self.recurrent.forward)
    moves = [cell.moves(dtype) for cell in cells]

    def step(states, entering):
      z_B, marks, begin, (pos_B, segment_B), keys = entering
      asks_BM = entered(states[-1], marks, begin[-1])["h"].astype(dtype)
      see = See(Where(pos_B[:, None], segment_B[:, None]), source.where, everything())
      found = [] if recorded else None
      key = keys[0] if self.asking.drops and keys is not None else None  # of no layer: the first reads z
      a_B1M, _ = self.asking(asks_BM[:, None], None, see, cache=source.cache, record=found, key=key)
      z_B = jax.tree.map(jnp.add, z_B, cells[0].enter(a_B1M[:, 0], first=asks_BM.shape[-1]))
      after, h_BM = [], asks_BM
      for layer, (cell, move) in enumerate(zip(cells, moves, strict=True)):
        if layer:
          z_B = cell.enter(self.recurrent.drop(h_BM, None if keys is None else keys[layer]))
        after.append(move(states[layer], z_B, marks, begin[layer]))
        h_BM = after[-1]["h"].astype(dtype)
      return tuple(after), (h_BM, found[0] if found else None)

    return step


class RnnSeq2Seq(nnx.Module):
  """Encoder (model.direction) and decoder of cells; each segment of the target belongs to that of the source."""

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.source_embedding = Embedding(vocabulary.source, settings["width"], dtype)
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.encoder = Recurrent(settings, direction=settings["direction"])
    self.decoder = Before(settings) if settings["reads"] == "before" else Decoder(settings)
    self.readout = Readout(settings["width"], vocabulary)

  def encode(self, source_BSC, source_where: Where, *, key=None):
    """The memory (B, S, M): the outputs of the encoder."""
    return self.encoder(self.source_embedding(source_BSC), source_where, key=key)[0]

  def start(self, source_BSC, source_where: Where, length: int) -> tuple:
    """A carry that holds the encoded source. A state takes no room, so `length` changes nothing."""
    del length
    source = self.decoder.read(self.encode(source_BSC, source_where), source_where)
    layers = self.decoder.recurrent.start(source_BSC.shape[0], self.embedding.dtype)
    return layers, self.decoder.cached(source)

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry; with a carry the source is the one that `start` encoded."""
    key, source_key = (None, None) if key is None else jax.random.split(key)
    if carry is not None:
      layers, source = carry
    elif inputs.source_BSC is None or inputs.source_where is None:
      raise Refused("an encoder-decoder was called without a source; give Inputs(source_BSC=..., source_where=...)")
    else:
      memory_BSM = self.encode(inputs.source_BSC, inputs.source_where, key=source_key)
      layers, source = None, self.decoder.read(memory_BSM, inputs.source_where)
    x_BTM = self.embedding(inputs.tokens_BTC)
    y_BTM, layers = self.decoder(x_BTM, inputs.where, source, carry=layers, key=key, record=record)
    return self.readout(y_BTM), None if carry is None else (layers, source)


def _edge(source: Where, where: Where, *, last: bool):
  """(column_BT, found_BT): the last, or first, column of the source that has the segment of a token.

  By sorting, so without an array of T times S.
  """
  segment_BT = jnp.broadcast_to(jnp.asarray(where.segment_BT), (source.segment_BT.shape[0], where.segment_BT.shape[1]))
  order_BS = jnp.argsort(source.segment_BT, axis=1, stable=True)
  sorted_BS = jnp.take_along_axis(source.segment_BT, order_BS, 1)
  place_BT = jax.vmap(lambda a, v: jnp.searchsorted(a, v, side="right" if last else "left"))(sorted_BS, segment_BT)
  place_BT = jnp.clip(place_BT - last, 0, sorted_BS.shape[1] - 1)
  found_BT = (jnp.take_along_axis(sorted_BS, place_BT, 1) == segment_BT) & (segment_BT > 0)
  return jnp.take_along_axis(order_BS, place_BT, 1), found_BT


def _named(record: list | None, found: list | None, name: str) -> None:
  """Adds what attention recorded to the record, under the name of its place."""
  if record is not None:
    record.extend(entry | {"name": name} for entry in found or [])


def _over_time(found) -> dict:
  """A record whose arrays have the steps in front and one query each, as that of all queries at once."""
  weights, out = found["weights_BKGTS"], found["out_BTKGD"]
  weights = None if weights is None else jnp.moveaxis(weights[:, ..., 0, :], 0, -2)
  return found | {"weights_BKGTS": weights, "out_BTKGD": jnp.swapaxes(out[:, :, 0], 0, 1), "layer": 0}
