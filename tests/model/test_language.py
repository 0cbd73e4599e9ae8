"""Whole models: packed rows equal rows alone, padding is nothing, no look ahead, fields and readouts, bfloat16."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings, strategies

from model import build, initial
from model.errors import Refused
from model.language import Inputs, check_tokens
from model.mask import Positions, rows
from model.vocabulary import Vocabulary
from tests.model import tiny

KINDS = ("bert", "gpt", "seq2seq")
LENGTHS, SOURCES, TOTAL = (3, 5, 2), (4, 1, 3), 12


@functools.cache
def logits_of(kind, position="sinusoidal", attention="dot"):
  module = tiny.model(kind, position={"kind": position}, attention={"kind": attention})
  return jax.jit(lambda inputs: module(inputs)[0])


@pytest.mark.parametrize(
  ("kind", "position"),
  [("bert", "sinusoidal"), ("gpt", "sinusoidal"), ("seq2seq", "sinusoidal"), ("gpt", "none"), ("seq2seq", "learned")],
)
def test_packed_is_alone(kind, position):
  packed = tiny.inputs(kind, LENGTHS, SOURCES, TOTAL, TOTAL)
  logits = logits_of(kind, position)(packed)
  assert jnp.isfinite(logits).all()
  t = s = 0
  for n, m in zip(LENGTHS, SOURCES, strict=True):
    alone = tiny.part(packed, slice(t, t + n), slice(s, s + m))
    found = logits_of(kind, position)(tiny.pad(alone, TOTAL))[:, :n]
    np.testing.assert_allclose(found, logits[:, t : t + n], atol=1e-5)
    t, s = t + n, s + m


@settings(max_examples=8)
@given(kind=strategies.sampled_from(KINDS), order=strategies.permutations(range(TOTAL)))
def test_columns_may_stand_in_any_order(kind, order):
  """Rules and positions speak of positions, not of columns: shuffling a packed row shuffles its logits."""
  packed = tiny.inputs(kind, LENGTHS, SOURCES, TOTAL, TOTAL)
  shuffled = tiny.part(packed, np.array(order), np.array(order)[::-1])
  real = packed.positions.segment_BT[0][np.array(order)] > 0
  run = logits_of(kind)
  np.testing.assert_allclose(run(shuffled)[:, real], run(packed)[:, np.array(order)][:, real], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_nothing(kind):
  short = tiny.inputs(kind, (4,), (3,))
  np.testing.assert_allclose(logits_of(kind)(short), logits_of(kind)(tiny.pad(short, TOTAL))[:, :4], atol=1e-5)


@settings(max_examples=8)
@given(kind=strategies.sampled_from(KINDS), seed=strategies.integers(0, 10**6))
def test_what_stands_in_padding_does_not_matter(kind, seed):
  one, two = (tiny.inputs(kind, (4,), (3,), TOTAL, TOTAL, seed=s) for s in (seed, seed + 1))
  mixed = two._replace(tokens_BTC=np.concatenate([one.tokens_BTC[:, :4], two.tokens_BTC[:, 4:]], 1))
  if kind == "seq2seq":
    mixed = mixed._replace(source_BSC=np.concatenate([one.source_BSC[:, :3], two.source_BSC[:, 3:]], 1))
  np.testing.assert_array_equal(logits_of(kind)(one)[:, :4], logits_of(kind)(mixed)[:, :4])


@pytest.mark.parametrize("kind", KINDS)
def test_who_depends_on_whom(kind):
  """The derivative of logits t by the embedding of token s, through the embedding's output."""
  module = tiny.model(kind)
  inputs = tiny.inputs(kind, (6,), (4,))

  def logits(x_BTM):
    memory = {}
    if kind == "seq2seq":
      memory = {
        "memory_BSM": module.encode(inputs.source_BSC, inputs.source_positions),
        "memory_positions": inputs.source_positions,
      }
    stack = module.encoder if kind == "bert" else module.decoder
    return module.readout(stack(x_BTM, inputs.positions, **memory)[0])[0]

  jacobian = np.abs(jax.jit(jax.jacobian(logits))(module.embedding(inputs.tokens_BTC))[:, :, :, 0]).max((1, 2, 4))
  seen = np.ones((6, 6), bool) if kind == "bert" else np.tri(6, dtype=bool)
  np.testing.assert_array_equal(jacobian > 0, seen)


def test_cross_attention_stays_in_its_segment():
  module = tiny.model("seq2seq")
  packed = tiny.inputs("seq2seq", (3, 2), (2, 4))

  def logits(x_BSM):
    memory_BSM = module.encoder(x_BSM, packed.source_positions)[0]
    x_BTM = module.embedding(packed.tokens_BTC)
    return module.decoder(x_BTM, packed.positions, memory_BSM=memory_BSM, memory_positions=packed.source_positions)[0][
      0
    ]

  jacobian = np.abs(jax.jit(jax.jacobian(logits))(module.source_embedding(packed.source_BSC))[:, :, 0]).max((1, 3))
  np.testing.assert_array_equal(jacobian > 0, packed.source_positions.segment_BT == packed.positions.segment_BT.T)


def test_fields_add_up_and_readouts_stand_apart():
  vocabulary = Vocabulary((5, 3), 4, 2)
  module = tiny.realize(lambda: build.model(tiny.OPTIONS, vocabulary))
  tokens_BTC = np.array([[[1, 2], [4, 0]]])
  first, second = (table[...] for table in module.embedding.tables)
  np.testing.assert_allclose(module.embedding(tokens_BTC)[0, 0], first[1] + second[2], atol=1e-6)
  logits, carry = module(Inputs(tokens_BTC, rows(2)))
  assert logits.shape == (1, 2, 2, 4)
  assert carry is None
  kernel = module.readout.kernel
  kernel[...] = kernel[...].at[:, :4].set(0.0)  # the columns of the first readout
  silent, _ = module(Inputs(tokens_BTC, rows(2)))
  np.testing.assert_array_equal(silent[0, :, 0], np.tile(module.readout.bias[...][:4], (2, 1)))
  np.testing.assert_array_equal(silent[:, :, 1], logits[:, :, 1])


def test_symbols_outside_the_vocabulary_are_never_a_neighbors():
  module = tiny.model("gpt")
  tokens_BTC = np.array([[[1], [tiny.SYMBOLS]]])
  assert jnp.isnan(module.embedding(tokens_BTC)[0, 1]).all()
  good = tiny.inputs("seq2seq", (3,), (2,))
  check_tokens(good, tiny.vocabulary("seq2seq"))
  with pytest.raises(Refused, match=f"symbol {tiny.SYMBOLS}.*0 to {tiny.SYMBOLS - 1}"):
    check_tokens(good._replace(tokens_BTC=tokens_BTC), tiny.vocabulary("seq2seq"))
  with pytest.raises(Refused, match="source field 0 holds symbol -1"):
    check_tokens(good._replace(source_BSC=good.source_BSC * 0 - 1), tiny.vocabulary("seq2seq"))
  with pytest.raises(Refused, match="fields"):
    module.embedding(np.zeros((1, 2, 3), int))


def test_an_encoder_decoder_needs_a_source():
  with pytest.raises(Refused, match="source"):
    tiny.model("seq2seq")(tiny.inputs("gpt", (2,), ()))


def test_bert_has_no_carry():
  with pytest.raises(Refused, match="carry"):
    tiny.model("bert")(tiny.inputs("bert", (2,), ()), carry=())


@pytest.mark.parametrize(("kind", "attention"), [("bert", "dot"), ("gpt", "additive"), ("seq2seq", "cosine")])
def test_bfloat16_keeps_parameters_and_gradients_wide(kind, attention):
  low, full = (
    tiny.model(kind, dtype=dtype, attention={"kind": attention}, kv_heads=2) for dtype in ("bfloat16", "float32")
  )
  inputs = tiny.inputs(kind, LENGTHS, SOURCES, TOTAL, TOTAL)
  graphdef, params, rest = nnx.split(low, nnx.Param, ...)

  def loss(params):
    logits, _ = nnx.merge(graphdef, params, rest)(inputs)
    return -jax.nn.log_softmax(logits)[..., 0].mean(), logits

  (_, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  assert logits.dtype == jnp.float32
  for leaf in jax.tree.leaves(grads):
    assert leaf.dtype == jnp.float32
    assert jnp.isfinite(leaf).all()
  wide = jax.jit(lambda: full(inputs)[0])()
  real = inputs.positions.segment_BT[0] > 0
  assert jnp.abs(logits - wide)[:, real].mean() < 0.05 * jnp.abs(wide)[:, real].mean() + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained(kind):
  """No parameter is dead: each gets a gradient (keys' biases apart, which softmax cannot feel)."""
  module = tiny.model(kind, position={"kind": "learned", "length": 8}, bias=True)
  inputs = tiny.inputs(kind, (8,), (8,))
  graphdef, params, rest = nnx.split(module, nnx.Param, ...)
  grads = jax.jit(jax.grad(lambda p: jnp.sin(nnx.merge(graphdef, p, rest)(inputs)[0]).sum()))(params)
  for path, leaf in nnx.to_flat_state(grads):
    if path[-1] != "key_bias":
      assert jnp.abs(leaf[...]).max() > 1e-6, path


def test_dropout_needs_a_key_and_depends_on_it():
  module = tiny.model("seq2seq", dropout=0.3)
  inputs = tiny.inputs("seq2seq", (4,), (3,))
  run = jax.jit(lambda key: module(inputs, key=key)[0])
  still = jax.jit(lambda: module(inputs)[0])()
  np.testing.assert_allclose(still, logits_of("seq2seq")(inputs), atol=1e-5)
  assert jnp.abs(run(jax.random.key(0)) - run(jax.random.key(1))).max() > 1e-2
  np.testing.assert_array_equal(run(jax.random.key(0)), run(jax.random.key(0)))


def test_dials_are_members():
  """Another rate or scale is another number in the same program."""
  module = tiny.model("gpt", dropout=0.3, depth=1)
  inputs = tiny.inputs("gpt", (4,), ())
  graphdef, params, dials = nnx.split(module, nnx.Param, initial.Dial)
  run = jax.jit(lambda d: nnx.merge(graphdef, params, d)(inputs, key=jax.random.key(0))[0])
  names = initial.dials(module)
  off = initial.settings(module, {name: 0.0 for name in names if name.endswith("rate")})
  np.testing.assert_allclose(run(off), module(inputs)[0], atol=1e-6)
  assert jnp.abs(run(nnx.as_pure(dials)) - run(off)).max() > 1e-2
  blunt = initial.settings(module, dict.fromkeys(names, 0.0))
  assert jnp.abs(run(blunt) - run(off)).max() > 1e-3
  assert run._cache_size() == 1


def test_learned_positions_never_clamp():
  module = tiny.model("gpt", position={"kind": "learned", "length": 3})
  with pytest.raises(Refused, match="position 3"):
    module(tiny.inputs("gpt", (4,), ()))
  inputs = tiny.inputs("gpt", (3,), ())
  moved = inputs._replace(positions=Positions(inputs.positions.pos_BT + 1, inputs.positions.segment_BT))
  assert jnp.isnan(jax.jit(lambda inputs: module(inputs)[0])(moved)).any()
