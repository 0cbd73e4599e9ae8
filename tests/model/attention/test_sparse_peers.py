"""Parity with the authors' models in Transformers, on copied random weights: outputs, and gradients of every weight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.heads import Heads
from model.initial import realize
from model.mask import Mask, Positions, everything

WIDTH, HEADS = 12, 2
NAMES = ("query", "key", "value")


def ours(length, mechanism):
  """Heads without an output projection, as the peers have none, and inputs of two rows."""
  settings = {"heads": HEADS, "bias": True, "projections": "qkv", "mechanism": mechanism}
  made = realize(lambda: Heads(WIDTH, **settings))
  rng = np.random.default_rng(0)
  return made, *(rng.normal(size=(2, length, WIDTH)).astype(np.float32) for _ in range(2))


def copied(made, theirs, suffixes):
  """Random weights into both; `suffixes` pairs names of theirs with ours."""
  rng = np.random.default_rng(1)
  for their_suffix, our_suffix in suffixes:
    for name in NAMES:
      linear, shape = getattr(theirs, name + their_suffix), getattr(made, name + our_suffix)[...].shape
      kernel = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5
      bias = rng.normal(size=WIDTH).astype(np.float32)
      linear.weight.data.copy_(linear.weight.new_tensor(kernel.T))
      linear.bias.data.copy_(linear.bias.new_tensor(bias))
      getattr(made, name + our_suffix)[...] = jnp.asarray(kernel.reshape(shape))
      getattr(made, f"{name}{our_suffix}_bias")[...] = jnp.asarray(bias.reshape(shape[1:]))


def agree(made, x, target, mask, theirs, x_theirs, out, suffixes):
  """Outputs to 1e-5, gradients of sum(out * target) by the input and all weights to 1e-4."""
  (out * out.new_tensor(target)).sum().backward()
  graphdef, params, rest = nnx.split(made, nnx.Param, ...)

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  def loss(params, x):
    y = nnx.merge(graphdef, params, rest)(x, x, mask)[0]
    return (y * target).sum(), y

  (_, y), (by_params, by_x) = loss(params, x)
  np.testing.assert_allclose(y, out.detach(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(by_x, x_theirs.grad, rtol=1e-4, atol=1e-4)
  for their_suffix, our_suffix in suffixes:
    for name in NAMES:
      linear = getattr(theirs, name + their_suffix)
      kernel, bias = (by_params[name + our_suffix + end][...] for end in ("", "_bias"))
      np.testing.assert_allclose(kernel.reshape(WIDTH, WIDTH), linear.weight.grad.T, rtol=1e-4, atol=1e-4)
      np.testing.assert_allclose(bias.reshape(-1), linear.bias.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.peer
def test_parity_with_longformer_with_global_tokens_and_padding():
  torch = pytest.importorskip("torch")
  peer = pytest.importorskip("transformers.models.longformer.modeling_longformer")
  length, span = 64, 8
  config = peer.LongformerConfig(
    hidden_size=WIDTH, num_attention_heads=HEADS, attention_window=[span], attention_probs_dropout_prob=0.0
  )
  theirs = peer.LongformerSelfAttention(config, 0)
  suffixes = (("", ""), ("_global", "_1"))
  # Their window counts both sides, ours one side and the token itself.
  made, x, target = ours(length, {"kind": "banded", "window": span // 2 + 1, "symbols": (1,), "most": 6})
  copied(made, theirs, suffixes)
  is_global, is_there = np.zeros((2, length), bool), np.ones((2, length), bool)
  is_global[0, [0, 17]], is_global[1, [0, 5, 30]], is_there[1, 51:] = True, True, False
  mask = torch.tensor(np.where(is_there, np.where(is_global, 1e4, 0.0), -1e4), dtype=torch.float32)
  x_theirs = torch.tensor(x, requires_grad=True)
  out = theirs(
    x_theirs,
    attention_mask=mask,
    is_index_masked=mask < 0,
    is_index_global_attn=mask > 0,
    is_global_attn=True,
  )[0]
  positions = Positions(np.broadcast_to(np.arange(length, dtype=np.int32), (2, length)), is_there.astype(np.int32))
  mask = Mask(positions, positions, everything(), jnp.asarray(is_global))
  agree(made, x, target * is_there[..., None], mask, theirs, x_theirs, out, suffixes)


@pytest.mark.peer
def test_parity_with_bigbird_with_equal_random_blocks_and_padding(monkeypatch):
  """Theirs draws blocks only while it trains, so it is compared in that mode; they are replaced by ours.

  Otherwise it takes block 0 for every random block, and so counts its keys several times. Its last global block is
  the last of the row: padding here stays within it, where it is also the last of the document.
  """
  torch = pytest.importorskip("torch")
  peer = pytest.importorskip("transformers.models.big_bird.modeling_big_bird")
  size, blocks, random = 4, 12, 2
  length = size * blocks
  config = peer.BigBirdConfig(
    hidden_size=WIDTH, num_attention_heads=HEADS, block_size=size, num_random_blocks=random, use_bias=True
  )
  theirs = peer.BigBirdBlockSparseAttention(config).train()
  made, x, target = ours(length, {"kind": "block_sparse", "block_size": size, "random": random})
  copied(made, theirs, (("", ""),))
  is_there = np.ones((2, length), np.float32)
  is_there[1, -3:] = 0
  positions = Positions(np.broadcast_to(np.arange(length, dtype=np.int32), (2, length)), is_there.astype(np.int32))
  mask = Mask(positions, positions, everything())
  pattern = made.mechanism.own_mask(mask).rule.second
  drawn, there = pattern.draw(jnp.arange(1, blocks - 1), jnp.full(blocks - 2, blocks))
  assert there.all()
  monkeypatch.setattr(theirs, "_bigbird_block_rand_mask_with_head", lambda **_: [np.asarray(drawn)] * HEADS)
  blocked, band, from_mask, to_mask = peer.BigBirdModel.create_masks_for_block_sparse_attn(torch.tensor(is_there), size)
  x_theirs = torch.tensor(x, requires_grad=True)
  out, _ = theirs(x_theirs, band, from_mask, to_mask, blocked, blocked)
  agree(made, x, target * is_there[..., None], mask, theirs, x_theirs, out, (("", ""),))
