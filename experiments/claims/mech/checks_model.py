"""Exact checks of whole models: shapes, parity, read-out, structure, sequences.

Linear layer and softmax after the last decoder state; encoder and decoder stacks (Vaswani et al. 2017, section 3).
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import (
  SHAPES,
  Case,
  Samples,
  answer,
  attend,
  attention,
  call,
  cases,
  distance,
  kernel,
  one_row,
  softmax,
  stack,
)
from model import build, mask
from model.block import Block
from model.errors import Refused
from model.heads import Heads
from model.language import Inputs
from model.transformer import Decoder, Encoder
from model.vocabulary import Vocabulary

SYMBOLS = 17  # more than any width here: a read-out can show the whole state
TEMPERATURES = (0.25, 1.0, 4.0)


def shapes() -> Samples:
  """MECH-2: output shape for every number of heads that divides the width; every other is refused."""
  samples = Samples()
  for batch, length, width in ((1, 4, 8), (3, 7, 12), (2, 5, 64)):
    x_BTM, memory_BSM = jnp.zeros((batch, length, width)), jnp.zeros((batch, length + 2, width))
    for count in range(1, width + 1):
      if width % count:
        samples.add(indivisible_heads_accepted=_builds(width, count))
        continue
      itself, crossed, peer = jax.eval_shape(functools.partial(_shapes, width, count), x_BTM, memory_BSM)
      samples.add(
        another_shape_than_the_input=itself.shape != x_BTM.shape,
        another_shape_than_in_flax=itself.shape != peer.shape,
        cross_attention_has_another_length_than_its_queries=crossed.shape[1] != length,
      )
  return samples


def _builds(width, count) -> bool:
  try:
    Heads(width, heads=count, mechanism={"kind": "dot"})
  except Refused:
    return False
  return True


def _shapes(width, count, x_BTM, memory_BSM):
  """Self-attention, cross-attention to a longer memory, and flax's self-attention."""
  heads = Heads(width, heads=count, mechanism={"kind": "dot"})
  cross = mask.Mask(mask.rows(x_BTM.shape[1]), mask.rows(memory_BSM.shape[1]), mask.everything())
  peer = nnx.MultiHeadAttention(count, width, decode=False, rngs=nnx.Rngs(0))
  return (
    heads(x_BTM, x_BTM, one_row(x_BTM.shape[1], mask.everything()))[0],
    heads(x_BTM, memory_BSM, cross)[0],
    peer(x_BTM),
  )


def formula() -> Samples:
  """MECH-5: the layer against softmax(Q K^T / sqrt(d_k)) V as published, as in jax.nn and as in flax."""
  samples = Samples()
  for case in cases(attention):
    (heads,) = case.modules
    y_BTM, _, out_BTKGD = call(attend, heads, case.x_BTM)
    q, k, v = (np.einsum("btm,mhd->bthd", case.x_BTM, kernel(heads, name)) for name in ("query", "key", "value"))
    root = q.shape[-1] ** 0.5
    samples.add(
      error_against_the_formula=distance(out_BTKGD[:, :, :, 0], _published(q, k, v, 1 / root)),
      error_against_jax_nn=distance(out_BTKGD[:, :, :, 0], _jax_nn(q, k, v)),
      error_against_flax=distance(y_BTM, call(answer, _flax(heads), case.x_BTM)),
      difference_when_multiplied_by_the_root=distance(out_BTKGD[:, :, :, 0], _published(q, k, v, root)),
    )
  return samples


def _published(q, k, v, scale):
  score_BHTS = np.einsum("bthd,bshd->bhts", q, k) * scale
  return np.einsum("bhts,bshd->bthd", softmax(score_BHTS), v)


@jax.jit
def _jax_nn(q, k, v):
  with jax.default_matmul_precision("highest"):
    return jax.nn.dot_product_attention(q, k, v)


def _flax(heads):
  """Flax's own multi-head attention with the same weights."""
  width, count = heads.query.shape[0], heads.query.shape[1]
  peer = nnx.eval_shape(lambda: nnx.MultiHeadAttention(count, width, use_bias=False, decode=False, rngs=nnx.Rngs(0)))
  graphdef, _, rest = nnx.split(peer, nnx.Param, ...)
  values = {name: {"kernel": kernel(heads, name)} for name in ("query", "key", "value", "out")}
  return nnx.merge(graphdef, nnx.State(values), rest)


def readout() -> Samples:
  """MECH-13: is the output softmax(W h + b) of the last decoder state, and how does temperature change it?"""
  samples = Samples()
  for case in cases(_gpt):
    (gpt,) = case.modules
    logits_BTV, state_BTM = call(_logits, gpt, _inputs(case)), _last_states(gpt, _inputs(case))
    logits_XV = logits_BTV.reshape(-1, SYMBOLS).astype(np.float64)
    chances = [softmax(logits_XV / temperature) for temperature in TEMPERATURES]
    odds = [
      t * np.diff(np.log(p_XV), axis=-1) - np.diff(logits_XV, axis=-1)
      for t, p_XV in zip(TEMPERATURES, chances, strict=True)
    ]
    samples.add(
      error_of_the_linear_layer=distance(logits_BTV, state_BTM @ gpt.readout.kernel[...] + gpt.readout.bias[...]),
      error_of_the_sum_of_probabilities=max(distance(p_XV.sum(-1), 1.0) for p_XV in chances),
      another_best_token_at_another_temperature=sum(np.sum(p.argmax(-1) != logits_XV.argmax(-1)) for p in chances),
      error_of_the_log_odds_times_temperature=max(np.abs(difference).max() for difference in odds),
    )
  return samples


def _last_states(gpt, inputs) -> np.ndarray:
  """What the read-out is given: a read-out by the identity shows it."""
  graphdef, params, rest = nnx.split(gpt, nnx.Param, ...)
  readout = {"kernel": np.eye(*gpt.readout.kernel.shape, dtype=np.float32), "bias": np.zeros(SYMBOLS, np.float32)}
  shown = nnx.merge(graphdef, nnx.State({**params, "readout": readout}), rest)
  return call(_logits, shown, inputs)[..., : gpt.readout.kernel.shape[0]]


def structure() -> Samples:
  """MECH-15: which parts the layers of encoder and decoder have, and how many stacks each kind of model has."""
  encoder_parts = {"attention", "attention_norm", "feedforward", "feedforward_norm"}
  decoder_parts = encoder_parts | {"cross", "cross_norm"}
  samples = Samples()
  for shape, norm in itertools.product(SHAPES, ("pre", "post")):
    options = stack(shape, wiring={"norm": norm, "residual": True})
    seq2seq, bert, gpt = (_abstract(options, kind) for kind in ("seq2seq", "bert", "gpt"))
    parts = {name: [_parts(layer) for layer in getattr(seq2seq, name).layers] for name in ("encoder", "decoder")}
    found = {
      "encoder layers: parts missing or beyond": sum(len(own ^ encoder_parts) for own in parts["encoder"]),
      "decoder layers: parts missing or beyond": sum(len(own ^ decoder_parts) for own in parts["decoder"]),
      "decoder: self-attention without mask": not isinstance(seq2seq.decoder.rule, mask.Causal),
      "encoder-decoder: stacks": _stacks(seq2seq),
      "encoder-only model: stacks": _stacks(bert),
      "decoder-only model: stacks": _stacks(gpt),
    }
    samples.add(**found)
  for case in cases(lambda shape: Block(stack(shape), layer=0)):
    (block,) = case.modules
    graphdef, params, rest = nnx.split(block, nnx.Param, ...)
    silent = nnx.merge(graphdef, jax.tree.map(np.zeros_like, params), rest)
    samples.add(block_with_zero_weights_differs_from_its_input=distance(call(_block, silent, case.x_BTM), case.x_BTM))
  return samples


def _abstract(options, kind):
  vocabulary = Vocabulary((SYMBOLS,), SYMBOLS, source=(SYMBOLS,) if kind == "seq2seq" else ())
  return nnx.eval_shape(lambda: build.model(options | {"kind": kind}, vocabulary))


def _parts(layer) -> set[str]:
  return set(nnx.state(layer, nnx.Param))


def _stacks(model) -> int:
  return sum(isinstance(part, Encoder | Decoder) for part in vars(model).values())


def sequence() -> Samples:
  """MECH-16: sequences of any length with the same weights, several attention outputs, embeddings as one-hot rows."""
  samples = Samples()
  for case in cases(_gpt, attention):
    gpt, heads = case.modules
    inputs, shorter = _inputs(case), case.shape.length - 1
    logits_BTV = call(_logits, gpt, inputs)
    part_BTV = call(_logits, gpt, Inputs(inputs.tokens_BTC[:, :shorter], mask.rows(shorter)))
    embedded_BTM = call(answer, gpt.embedding, inputs.tokens_BTC)
    one_hot_BTV = np.eye(SYMBOLS, dtype=np.float32)[np.asarray(inputs.tokens_BTC)[..., 0]]
    y_BTM, _, out_BTKGD = call(attend, heads, case.x_BTM)
    shares = [np.einsum("btgd,gdm->btm", out_BTKGD[:, :, k], heads.out[...][k]) for k in range(case.shape.heads)]
    samples.add(
      another_length_than_the_input=(part_BTV.shape[1], logits_BTV.shape[1]) != (shorter, case.shape.length),
      difference_when_the_end_is_left_out=distance(part_BTV, logits_BTV[:, :shorter]),
      embedding_against_one_hot_rows=distance(embedded_BTM, one_hot_BTV @ gpt.embedding.tables[0][...]),
      attention_outputs_combined=case.shape.heads * len(gpt.decoder.layers),
      combined_output_against_their_sum=distance(y_BTM, sum(shares)),
    )
  return samples


def _gpt(shape):
  return build.model(stack(shape, kind="gpt", depth=2 if shape.heads == 1 else 1), Vocabulary((SYMBOLS,), SYMBOLS))


def _inputs(case: Case) -> Inputs:
  """Tokens made of the case's random numbers."""
  tokens_BTC = (np.abs(case.x_BTM[..., :1]) * 1000).astype(np.int32) % SYMBOLS
  return Inputs(jnp.asarray(tokens_BTC), mask.rows(case.shape.length))


def _logits(gpt, inputs):
  return gpt(inputs)[0][:, :, 0]


def _block(block, x_BTM):
  return block(x_BTM, one_row(x_BTM.shape[1], mask.everything()))[0]
