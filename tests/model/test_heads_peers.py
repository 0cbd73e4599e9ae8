"""Parity of heads with PyTorch and flax on copied weights, in values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.mask import Mask, causal, everything, rows
from tests.model.test_heads import M, heads, inputs, run


def torch_mha(width, count, bias):
  """PyTorch's module and our heads with its weights."""
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  theirs = torch.nn.MultiheadAttention(width, count, bias=bias, batch_first=True)
  ours, D = heads(width, heads=count, bias=bias), width // count
  fused = theirs.in_proj_weight.detach().numpy().reshape(3, count, D, width)
  for name, kernel in zip(("query", "key", "value"), fused, strict=True):
    kernel = kernel.transpose(2, 0, 1)
    getattr(ours, name)[...] = jnp.asarray(kernel[:, :, None] if name == "query" else kernel)
  ours.out[...] = jnp.asarray(theirs.out_proj.weight.detach().numpy().T.reshape(count, 1, D, width))
  if bias:
    with torch.no_grad():
      theirs.in_proj_bias.normal_()
      theirs.out_proj.bias.normal_()
    for name, part in zip(
      ("query", "key", "value"), theirs.in_proj_bias.detach().numpy().reshape(3, count, D), strict=True
    ):
      getattr(ours, name + "_bias")[...] = jnp.asarray(part[:, None] if name == "query" else part)
    ours.out_bias[...] = jnp.asarray(theirs.out_proj.bias.detach().numpy())
  return torch, theirs, ours


@pytest.mark.peer
def test_the_exercise_of_a_torch_module_on_two_sentences_of_five_words():
  torch, theirs, ours = torch_mha(64, 8, bias=True)
  x = torch.rand(2, 5, 64)
  output, weights = theirs(x, x, x)
  y_BTM, _, record = run(ours, x.numpy(), x.numpy(), Mask(rows(5), rows(5), everything()))
  assert y_BTM.shape == tuple(output.shape) == (2, 5, 64)
  np.testing.assert_allclose(y_BTM, output.detach(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(record["weights_BKGTS"].mean((1, 2)), weights.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.peer
@pytest.mark.parametrize("bias", [False, True])
def test_parity_with_torch_multihead_attention(bias):
  torch, theirs, ours = torch_mha(M, 3, bias)
  x, memory, target = (torch.tensor(inputs(2, n, M, seed=s), requires_grad=True) for n, s in ((5, 1), (5, 2), (5, 3)))
  mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
  output, _ = theirs(x, memory, memory, attn_mask=mask)
  (output * target).sum().backward()
  graphdef, params, rest = nnx.split(ours, nnx.Param, ...)

  @functools.partial(jax.jit)
  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
  def loss(params, x_BTM, memory_BSM):
    y_BTM, _ = nnx.merge(graphdef, params, rest)(x_BTM, memory_BSM, Mask(rows(5), rows(5), causal()))
    return (y_BTM * target.detach().numpy()).sum(), y_BTM

  (_, y_BTM), (by_params, by_x, by_memory) = loss(params, x.detach().numpy(), memory.detach().numpy())
  np.testing.assert_allclose(y_BTM, output.detach(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(by_x, x.grad, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(by_memory, memory.grad, rtol=1e-4, atol=1e-4)
  fused = theirs.in_proj_weight.grad.numpy().reshape(3, 3, 4, M).transpose(0, 3, 1, 2)
  for name, expected in zip(("query", "key", "value"), fused, strict=True):
    np.testing.assert_allclose(by_params[name][...].reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
  by_out = theirs.out_proj.weight.grad.numpy().T
  np.testing.assert_allclose(by_params["out"][...].reshape(M, M), by_out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_parity_with_flax_multi_head_attention(kv_heads):
  theirs = nnx.MultiHeadAttention(
    4, M, num_kv_heads=kv_heads, decode=False, use_bias=False, deterministic=True, rngs=nnx.Rngs(0)
  )
  ours = heads(heads=4, kv_heads=kv_heads)
  ours.query[...] = theirs.query.kernel[...].reshape(M, kv_heads, 4 // kv_heads, 3)
  ours.key[...], ours.value[...] = theirs.key.kernel[...], theirs.value.kernel[...]
  ours.out[...] = theirs.out.kernel[...].reshape(kv_heads, 4 // kv_heads, 3, M)
  x_BTM, target = inputs(2, 5, M), inputs(2, 5, M, seed=4)
  mask = np.tri(5, dtype=bool)[None, None]

  def ours_of(x_BTM):
    return ours(x_BTM, x_BTM, Mask(rows(5), rows(5), causal()))[0]

  def both(x_BTM):
    return [
      jax.value_and_grad(lambda x, f=f: ((f(x) * target).sum(), f(x)), has_aux=True)(x_BTM)
      for f in (ours_of, lambda x: theirs(x, mask=mask))
    ]

  ((_, y_BTM), by_x), ((_, peer_BTM), peer_by_x) = jax.jit(both)(x_BTM)
  np.testing.assert_allclose(y_BTM, peer_BTM, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(by_x, peer_by_x, rtol=1e-4, atol=1e-4)
