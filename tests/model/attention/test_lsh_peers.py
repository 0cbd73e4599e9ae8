"""LSH attention against Transformers' Reformer on copied weights and buckets, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention.lsh import Lsh
from model.heads import Heads
from model.initial import realize
from model.mask import Mask, causal, everything, rows

B, M, H, D, CHUNK = 2, 12, 3, 4, 4


def peer(length, rounds, is_causal):
  """Transformers' layer, its output with gradients, and the buckets it used: (weights, x, target, out, buckets)."""
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  from transformers.models.reformer.modeling_reformer import LSHSelfAttention

  config = transformers.ReformerConfig(
    hidden_size=M,
    num_attention_heads=H,
    attention_head_size=D,
    lsh_attn_chunk_length=CHUNK,
    num_hashes=rounds,
    num_buckets=8,
    is_decoder=is_causal,
    lsh_attention_probs_dropout_prob=0.0,
  )
  torch.manual_seed(0)
  # In float64: a token alone has all scores at -1e5, where float32 knows no better than 0.008.
  theirs = LSHSelfAttention(config, layer_idx=0).eval().double()
  x, target = (torch.randn(B, length, M, dtype=torch.float64, requires_grad=True) for _ in range(2))
  found = theirs(x)
  (found.hidden_states * target).sum().backward()
  weights = (theirs.query_key.weight, theirs.value.weight)
  return weights, x, target.detach().numpy(), found.hidden_states.detach().numpy(), found.buckets


def ours(weights, x, target, is_causal, mechanism):
  """Output and gradients of our heads with the peer's weights, by their two kernels and the input."""
  made = realize(lambda: Heads(M, heads=H, head_dim=D, projections="qkv", mechanism={"kind": "lsh", **mechanism}))
  for name, weight in zip(("query", "value"), weights, strict=True):
    kernel = getattr(made, name)
    kernel[...] = jnp.asarray(weight.detach().numpy().T.reshape(kernel.shape), jnp.float32)
  graph, params, rest = nnx.split(made, nnx.Param, ...)
  positions = rows(x.shape[1])
  mask = Mask(positions, positions, causal() if is_causal else everything())

  def loss(params, x_BTM):
    out_BTM, _ = nnx.merge(graph, params, rest)(x_BTM, x_BTM, mask)
    return (out_BTM * target).sum(), out_BTM

  grads, out = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x.detach().numpy().astype(np.float32))
  by_params = [grads[0][name][...].reshape(M, -1).T for name in ("query", "value")]
  return out, [*by_params, grads[1]]


def agree(weights, x, expected, out, grads):
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
  for mine, parameter in zip(grads, [*weights, x], strict=True):
    np.testing.assert_allclose(mine, parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize(("rounds", "is_causal"), [(1, True), (1, False), (4, True), (4, False)])
def test_parity_with_transformers_reformer(monkeypatch, rounds, is_causal):
  """Their buckets in place of ours: the two draw other rotations."""
  weights, x, target, expected, buckets = peer(20, rounds, is_causal)
  labels = jnp.asarray(buckets.numpy(), jnp.int32) % 8  # theirs count on from round to round
  monkeypatch.setattr(Lsh, "hash", lambda self, x_BTKD, positions, k_positions: labels)
  mechanism = {"rounds": rounds, "buckets": 8, "chunk": CHUNK, "strict": False}
  agree(weights, x, expected, *ours(weights, x, target, is_causal, mechanism))


@pytest.mark.peer
@pytest.mark.parametrize("is_causal", [True, False])
def test_parity_with_transformers_reformer_on_a_row_of_one_chunk(is_causal):
  weights, x, target, expected, _ = peer(CHUNK, 4, is_causal)
  agree(weights, x, expected, *ours(weights, x, target, is_causal, {"chunk": CHUNK}))
