"""LSH attention against Transformers' Reformer on copied weights and buckets, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.see import See, causal, everything, rows
from tests.attention import cases

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


def ours(weights, x, target, run):
  """Output and gradients of the same layer; run(q, k, v) is the mechanism."""

  def loss(kernels, x_BTM):
    q, v = ((x_BTM @ kernel.T).reshape(B, -1, H, D) for kernel in kernels)
    out_BTM = run(q[:, :, :, None], q, v).reshape(target.shape)
    return (out_BTM * target).sum(), out_BTM

  given = [weight.detach().numpy().astype(np.float32) for weight in weights], x.detach().numpy().astype(np.float32)
  grads, out = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(*given)
  return out, [*grads[0], grads[1]]


@pytest.mark.peer
@pytest.mark.parametrize(("rounds", "is_causal"), [(1, True), (1, False), (4, True), (4, False)])
def test_parity_with_transformers_reformer(rounds, is_causal):
  weights, x, target, expected, buckets = peer(20, rounds, is_causal)
  made = cases.mechanism("lsh", H, 1, head_dim=D, rounds=rounds, buckets=8, chunk=CHUNK, strict=False)
  see = See(rows(20), rows(20), causal() if is_causal else everything())
  labels = jnp.asarray(buckets.numpy(), jnp.int32) % 8  # theirs count on from round to round
  out, grads = ours(weights, x, target, lambda q, _, v: made.by_buckets(q, v, see, labels))
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
  for mine, parameter in zip(grads, [*weights, x], strict=True):
    np.testing.assert_allclose(mine, parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize("is_causal", [True, False])
def test_parity_with_transformers_reformer_on_a_row_of_one_chunk(is_causal):
  weights, x, target, expected, _ = peer(CHUNK, 4, is_causal)
  made = cases.mechanism("lsh", H, 1, head_dim=D, chunk=CHUNK)
  see = See(rows(CHUNK), rows(CHUNK), causal() if is_causal else everything())
  out, grads = ours(weights, x, target, lambda q, k, v: made(q, k, v, see)[0])
  np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
  for mine, parameter in zip(grads, [*weights, x], strict=True):
    np.testing.assert_allclose(mine, parameter.grad, rtol=1e-4, atol=1e-4)
