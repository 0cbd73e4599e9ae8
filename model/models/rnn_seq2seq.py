"""Encoder and decoder of cells (Sutskever et al. 2014), with attention or without.

Attention after the cells: y_t = tanh(W [a_t; h_t]), a_t = attention(h_t, memory) (Luong et al. 2015). Before them:
h_t = cell([x_t; a_t], h_{t-1}), a_t = attention(h_{t-1}, memory) (Bahdanau et al. 2015).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from model.block import heads_of
from model.cell.cell import Carry, State, entered, marked
from model.errors import Refused
from model.heads import Heads
from model.language import Embedding, Inputs, Readout
from model.linear import Linear
from model.mask import Mask, Positions, everything
from model.recurrent import Reading, Recurrent, named
from model.vocabulary import Vocabulary


class Source(NamedTuple):
  """What a decoder knows of the source; every leaf has the batch as axis 0.

  states: those in which the decoder starts, per layer (B, S, H), the same at all tokens of a segment. The memory is
  there as it is, or as keys and values in a cache.
  """

  states: tuple[State, ...]
  positions: Positions
  memory_BSM: jax.Array | None = None
  cache: Any = None

  def begin(self, positions: Positions) -> tuple[State, ...]:
    """The states of each token's segment, (B, T, H); zeros where the source has no such segment."""
    column_BT, found_BT = _edge(self.positions, positions, last=True)

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

  def read(self, memory_BSM, memory_positions: Positions) -> Source:
    """The source that the encoder made `memory_BSM` of."""
    batch, length, _ = memory_BSM.shape
    positions = Positions(*(jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, length)) for a in memory_positions))
    return Source(self._starts(memory_BSM, positions), positions, memory_BSM)

  def cached(self, source: Source) -> Source:
    """With the keys and values of the memory, computed once, in its place."""
    heads, memory_BSM = self.heads(), source.memory_BSM
    if heads is None or memory_BSM is None:
      return source._replace(memory_BSM=None)
    mask = Mask(source.positions.at(slice(1)), source.positions, everything())
    empty = heads.empty_cache(memory_BSM.shape[0], memory_BSM.shape[1], memory_BSM.dtype)
    # One query, whose answer nobody reads, fills the cache.
    _, cache = heads(jnp.zeros_like(memory_BSM[:, :1]), memory_BSM, mask, cache=empty)
    return source._replace(memory_BSM=None, cache=cache)

  def __call__(self, x_BTM, positions: Positions, source: Source, *, carry=None, key=None, record=None):
    """Returns (y_BTM, carry), the carry of the cells."""
    y_BTM, carry = self.recurrent(x_BTM, positions, carry=carry, begin=source.begin(positions), key=key)
    if self.reading is not None:
      mask = Mask(positions, source.positions, everything())
      place = {"cache": source.cache, "record": record, "name": "decoder/cross"}
      y_BTM, _ = self.reading(y_BTM, source.memory_BSM, mask, key=key, **place)
    return y_BTM, carry

  def _starts(self, memory_BSM, positions: Positions) -> tuple[State, ...]:
    """Of the way forward the output at the last token of a segment counts, of the way back that at the first."""
    ways = jnp.split(memory_BSM, 2, -1) if self.two_ways else [memory_BSM]
    columns = [_edge(positions, positions, last=way == 0)[0][..., None] for way in range(len(ways))]
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

  def __call__(self, x_BTM, positions, source, *, carry=None, key=None, record=None):
    batch, length, _ = x_BTM.shape
    positions = Positions(*(jnp.broadcast_to(jnp.asarray(a, jnp.int32), (batch, length)) for a in positions))
    layers = self.recurrent.start(batch, x_BTM.dtype) if carry is None else carry
    marks, segment_B = marked(positions.segment_BT, layers[0].segment_B)
    keys = self.recurrent.keys(key)
    x_TBM = jnp.swapaxes(self.recurrent.drop(x_BTM, keys[0]), 0, 1)
    begin, where_TB = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (source.begin(positions), positions))
    inner = None if keys[0] is None else jax.random.split(jax.random.fold_in(keys[0], 1), (length, len(layers)))
    entering = (self.recurrent.forward[0].enter(x_TBM), marks, begin, where_TB, inner)
    step = self._step(x_BTM.dtype, source if source.memory_BSM is None else self.cached(source), record is not None)
    states, (h_TBM, found) = jax.lax.scan(step, tuple(layer.state for layer in layers), entering)
    named(record, [_over_time(found)] if found else [], "decoder/cross")
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
      mask = Mask(Positions(pos_B[:, None], segment_B[:, None]), source.positions, everything())
      found = [] if recorded else None
      key = keys[0] if self.asking.drops and keys is not None else None  # of no layer: the first reads z
      a_B1M, _ = self.asking(asks_BM[:, None], None, mask, cache=source.cache, record=found, key=key)
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

  built_of = "cells"
  reads_source = True

  def __init__(self, settings, vocabulary: Vocabulary, dtype: str = "float32"):
    self.vocabulary = vocabulary
    self.source_embedding = Embedding(vocabulary.source, settings["width"], dtype)
    self.embedding = Embedding(vocabulary.inputs, settings["width"], dtype)
    self.encoder = Recurrent(settings, direction=settings["direction"])
    self.decoder = Before(settings) if settings["reads"] == "before" else Decoder(settings)
    self.readout = Readout(settings["width"], vocabulary)

  def encode(self, source_BSC, source_positions: Positions, *, key=None):
    """The memory (B, S, M): the outputs of the encoder."""
    return self.encoder(self.source_embedding(source_BSC), source_positions, key=key)[0]

  def start(self, source_BSC, source_positions: Positions, length: int) -> tuple:
    """A carry that holds the encoded source. A state takes no room, so `length` changes nothing."""
    del length
    source = self.decoder.read(self.encode(source_BSC, source_positions), source_positions)
    layers = self.decoder.recurrent.start(source_BSC.shape[0], self.embedding.dtype)
    return layers, self.decoder.cached(source)

  def __call__(self, inputs: Inputs, *, carry: tuple | None = None, key=None, record=None):
    """Logits (B, T, R, V) in float32 and the carry; with a carry the source is the one that `start` encoded."""
    key, source_key = (None, None) if key is None else jax.random.split(key)
    if carry is not None:
      layers, source = carry
    elif inputs.source_BSC is None or inputs.source_positions is None:
      raise Refused("an encoder-decoder was called without a source; give Inputs(source_BSC=..., source_positions=...)")
    else:
      memory_BSM = self.encode(inputs.source_BSC, inputs.source_positions, key=source_key)
      layers, source = None, self.decoder.read(memory_BSM, inputs.source_positions)
    x_BTM = self.embedding(inputs.tokens_BTC)
    y_BTM, layers = self.decoder(x_BTM, inputs.positions, source, carry=layers, key=key, record=record)
    return self.readout(y_BTM), None if carry is None else (layers, source)


def _edge(source: Positions, positions: Positions, *, last: bool):
  """(column_BT, found_BT): the last, or first, column of the source that has the segment of a token.

  By sorting, so without an array of T times S.
  """
  segment_BT = jnp.broadcast_to(
    jnp.asarray(positions.segment_BT), (source.segment_BT.shape[0], positions.segment_BT.shape[1])
  )
  order_BS = jnp.argsort(source.segment_BT, axis=1, stable=True)
  sorted_BS = jnp.take_along_axis(source.segment_BT, order_BS, 1)
  place_BT = jax.vmap(lambda a, v: jnp.searchsorted(a, v, side="right" if last else "left"))(sorted_BS, segment_BT)
  place_BT = jnp.clip(place_BT - last, 0, sorted_BS.shape[1] - 1)
  found_BT = (jnp.take_along_axis(sorted_BS, place_BT, 1) == segment_BT) & (segment_BT > 0)
  return jnp.take_along_axis(order_BS, place_BT, 1), found_BT


def _over_time(found) -> dict:
  """A record whose arrays have the steps in front and one query each, as that of all queries at once."""
  weights, out = found["weights_BKGTS"], found["out_BTKGD"]
  weights = None if weights is None else jnp.moveaxis(weights[:, ..., 0, :], 0, -2)
  return found | {"weights_BKGTS": weights, "out_BTKGD": jnp.swapaxes(out[:, :, 0], 0, 1), "layer": 0}
