"""Dot attention: its scale, and parity with jax.nn and PyTorch in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.mask import causal, everything, rows
from tests.model.attention import cases


def test_the_scale_defaults_to_one_over_root_d_and_may_be_set():
  q, k, _ = cases.qkv(2, 2, head_dim=16)
  unscaled = cases.mechanism("dot", 2, 2, head_dim=16, scale=1.0).scores(q, k)
  np.testing.assert_allclose(cases.mechanism("dot", 2, 2, head_dim=16).scores(q, k), unscaled / 4, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(unscaled, np.einsum("btkgd,bskd->bkgts", q, k), rtol=1e-4, atol=1e-5)


def test_a_learned_scale_starts_at_the_given_one_and_gets_a_gradient():
  made = cases.realize(lambda: cases.build.make("attention", {"kind": "dot", "learned": True}, heads=2, head_dim=4))
  plain = cases.mechanism("dot", 2, 1, head_dim=4)
  q, k, v = cases.qkv(2, 1, head_dim=4)
  mask = cases.self_mask(cases.packed())
  np.testing.assert_array_equal(cases.run(made, (q, k, v), mask)[0], cases.run(plain, (q, k, v), mask)[0])
  graphdef, params, rest = nnx.split(made, nnx.Param, ...)
  gradient = jax.grad(lambda p: (nnx.merge(graphdef, p, rest)(q, k, v, mask)[0] ** 2).sum())(params)
  assert [abs(float(g)) > 0 for g in jax.tree.leaves(gradient)] == [True]


def test_the_scale_may_be_traced():
  q, k, v = cases.qkv(1, 1)
  mask = cases.self_mask(cases.packed())

  def run(scale):
    make = lambda: cases.build.make("attention", {"kind": "dot"}, heads=1, head_dim=cases.D)  # noqa: E731
    return cases.realize(make, 0, values={"scale": scale})(q, k, v, mask)[0]

  outs = jax.jit(jax.vmap(run))(jnp.array([0.0, 1.0]))
  np.testing.assert_allclose(
    outs[1], cases.run(cases.mechanism("dot", 1, 1, scale=1.0), (q, k, v), mask)[0], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(outs[0][1, 3, 0, 0], v[1, :4, 0].mean(0), rtol=1e-5, atol=1e-6)  # no scale, plain mean


@pytest.mark.parametrize("grouping", cases.GROUPINGS)
@pytest.mark.parametrize("is_causal", [True, False])
def test_parity_with_jax_nn(grouping, is_causal):
  kv_heads, groups = cases.GROUPINGS[grouping]
  q, k, v = cases.qkv(kv_heads, groups)
  target = cases.qkv(kv_heads, groups, seed=5)[0]
  mask = cases.self_mask(rows(cases.T), causal() if is_causal else everything())
  made = cases.mechanism("dot", kv_heads, groups)

  def theirs(q, k, v):
    flat = q.reshape(*q.shape[:2], -1, q.shape[-1])
    return jax.nn.dot_product_attention(flat, k, v, is_causal=is_causal).reshape(q.shape)

  (_, peer_out), peer_gradients = jax.jit(
    jax.value_and_grad(lambda qkv: ((theirs(*qkv) * target).sum(), theirs(*qkv)), has_aux=True)
  )((q, k, v))
  np.testing.assert_allclose(cases.run(made, (q, k, v), mask)[0], peer_out, rtol=1e-5, atol=1e-5)
  for ours, peer in zip(cases.solve(made, (q, k, v), mask, target).grads, peer_gradients, strict=True):
    np.testing.assert_allclose(ours, peer, rtol=1e-4, atol=1e-4)


@pytest.mark.peer
@pytest.mark.parametrize("block", [None, 5])
def test_parity_with_torch_scaled_dot_product_attention(block):
  torch = pytest.importorskip("torch")
  q, k, v = cases.qkv(3, 1)
  target = cases.qkv(3, 1, seed=5)[0]
  made, mask = cases.mechanism("dot", 3, 1), cases.self_mask(rows(cases.T))
  theirs = [torch.tensor(np.asarray(a).reshape(2, cases.T, 3, cases.D), requires_grad=True) for a in (q, k, v)]
  out = torch.nn.functional.scaled_dot_product_attention(*(a.transpose(1, 2) for a in theirs), is_causal=True)
  (out.transpose(1, 2) * torch.tensor(np.asarray(target[:, :, :, 0]))).sum().backward()
  ours = cases.run(made, (q, k, v), mask, block=block)[0]
  np.testing.assert_allclose(ours[:, :, :, 0], out.transpose(1, 2).detach(), rtol=1e-5, atol=1e-5)
  for mine, peer in zip(cases.solve(made, (q, k, v), mask, target, block).grads, theirs, strict=True):
    np.testing.assert_allclose(mine.reshape(peer.shape), peer.grad, rtol=1e-4, atol=1e-4)


def test_blockwise_memory_grows_with_the_keys_and_not_with_their_square():
  made = cases.mechanism("dot", 1, 1)

  def memory(length):
    qkv = cases.qkv(1, 1, batch=1, queries=length, keys=length)
    mask = cases.self_mask(rows(length))
    step = jax.jit(jax.grad(lambda qkv: made(*qkv, mask, block=32)[0].sum()))
    return step.lower(qkv).compile().memory_analysis().temp_size_in_bytes

  assert memory(1024) < 3 * memory(512)  # quadratic growth would be 4 times
