"""Differential attention under rotary positions against Transformers' DiffLlamaAttention, with copied random weights.

There head j of 2 H is paired with head j + H; its values are the pair's two values side by side.
"""

import jax
import numpy as np
import pytest
from flax import nnx

from model.heads import Heads
from model.initial import realize
from model.mask import Mask, causal, rows
from model.position.rope import Rope

pytestmark = pytest.mark.peer

WIDTH, HEADS, D, LENGTH, LAYER = 32, 4, 8, 64, 3  # heads of D features, halves of D / 2


def joined(weight, heads):
  """Rows (2 heads, D / 2) of the peer's projection as our kernel (M, heads, D): a pair's features take turns."""
  first, second = weight.T.reshape(WIDTH, 2, heads, D // 2).transpose(1, 0, 2, 3)
  return np.stack([first, second], -1).reshape(WIDTH, heads, D)


def side_by_side(weight, heads):
  """The same for values: a pair's features stand one after another."""
  first, second = weight.T.reshape(WIDTH, 2, heads, D // 2).transpose(1, 0, 2, 3)
  return np.concatenate([first, second], -1)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_diffllama(kv_heads):
  torch = pytest.importorskip("torch")
  llama = pytest.importorskip("transformers.models.diffllama.modeling_diffllama")
  config = llama.DiffLlamaConfig(
    hidden_size=WIDTH,
    num_attention_heads=2 * HEADS,
    num_key_value_heads=2 * kv_heads,
    head_dim=D // 2,
    rms_norm_eps=1e-5,
    attn_implementation="eager",
  )
  torch.manual_seed(0)
  peer = llama.DiffLlamaAttention(config, layer_idx=LAYER)
  for parameter in peer.parameters():
    parameter.data = torch.randn_like(parameter) * (0.5 if parameter.ndim == 1 else 0.3)
  x = np.random.default_rng(0).normal(size=(2, LENGTH, WIDTH)).astype(np.float32)
  target = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
  theirs = torch.tensor(x, requires_grad=True)
  angles = llama.DiffLlamaRotaryEmbedding(config)(theirs, torch.arange(LENGTH)[None])
  mask = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)[None, None]
  out, _ = peer(theirs, angles, mask)
  (out * torch.tensor(target)).sum().backward()

  def build():
    return Heads(WIDTH, heads=HEADS, kv_heads=kv_heads, head_dim=D, mechanism={"kind": "differential"}, layer=LAYER)

  made = realize(build, 0)
  state = {name: value.detach().numpy() for name, value in peer.named_parameters()}
  query = joined(state["q_proj.weight"], HEADS).reshape(WIDTH, kv_heads, HEADS // kv_heads, D)
  kernels = {
    "query": query,
    "key": joined(state["k_proj.weight"], kv_heads),
    "value": side_by_side(state["v_proj.weight"], kv_heads),
    "out": state["o_proj.weight"].T.reshape(kv_heads, HEADS // kv_heads, D, WIDTH),
  }
  for name, kernel in kernels.items():
    getattr(made, name)[...] = kernel
  vectors = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
  for name in vectors:
    getattr(made.mechanism, name)[...] = state[name]
  graph, params, rest = nnx.split(made, nnx.Param, ...)
  mask = Mask(rows(LENGTH), rows(LENGTH), causal())

  @jax.jit
  def solved(params, x):
    def loss(params, x):
      y, _ = nnx.merge(graph, params, rest)(x, x, mask, scheme=Rope(WIDTH, HEADS, D))
      return (y * target).sum(), y

    return jax.grad(loss, (0, 1), has_aux=True)(params, x)

  (by_params, by_x), ours = solved(params, x)
  np.testing.assert_allclose(ours, out.detach(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(by_x, theirs.grad, rtol=1e-4, atol=1e-4)
  grads = {name: value.grad.numpy() for name, value in peer.named_parameters()}
  expected = {
    "query": joined(grads["q_proj.weight"], HEADS).reshape(query.shape),
    "key": joined(grads["k_proj.weight"], kv_heads),
    "value": side_by_side(grads["v_proj.weight"], kv_heads),
    "out": grads["o_proj.weight"].T.reshape(kernels["out"].shape),
  }
  for name, gradient in expected.items():
    np.testing.assert_allclose(by_params[name][...], gradient, rtol=1e-4, atol=1e-4)
  for name in vectors:
    np.testing.assert_allclose(by_params["mechanism"][name][...], grads[name], rtol=1e-4, atol=1e-4)
