"""Parity of two layers, both ways, with PyTorch on copied weights; ours read one packed row, theirs each part alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build
from model.recurrent import Recurrent
from tests.model import tiny

M, H = 6, 3
LENGTHS = (4, 1, 6)
PEERS = {"tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}


def ours_of(kind, theirs):
  """Our layers with PyTorch's numbers, and where to look for the gradient of each of their parameters."""
  cell = {"kind": "lstm", "forget_bias": 0.0} if kind == "lstm" else {"kind": kind}
  settings = build.complete({"width": M, "heads": 1, "depth": 2, "cell": cell})
  ours, found = tiny.realize(lambda: Recurrent(settings, direction="both")), {}
  for layer in range(2):
    for way, suffix in (("forward", ""), ("backward", "_reverse")):
      one, gates = getattr(ours, way)[layer], getattr(ours, way)[layer].gates
      entering, back, bias, bias_back = (
        getattr(theirs, f"{name}_l{layer}{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
      )
      one.kernel[...] = jnp.asarray(entering.detach().numpy().T.reshape(M, gates, H))
      one.recurrent[...] = jnp.asarray(back.detach().numpy().reshape(gates, H, H).transpose(0, 2, 1))
      biases = np.stack([b.detach().numpy().reshape(gates, H) for b in (bias, bias_back)])
      if kind == "gru":  # the new gate's second bias stands inside of the reset
        one.recurrent_bias[...] = jnp.asarray(biases[1, 2])
        biases[1, 2] = 0
      one.bias[...] = jnp.asarray(biases.sum(0))
      found[way, layer, "kernel"] = lambda e=entering, g=gates: e.grad.numpy().T.reshape(M, g, H)
      found[way, layer, "recurrent"] = lambda b=back, g=gates: b.grad.numpy().reshape(g, H, H).transpose(0, 2, 1)
      found[way, layer, "bias"] = lambda b=bias, g=gates: b.grad.numpy().reshape(g, H)
      if kind == "gru":
        found[way, layer, "recurrent_bias"] = lambda b=bias_back: b.grad.numpy()[2 * H :]
  return ours, found


@pytest.mark.peer
@pytest.mark.parametrize("kind", PEERS)
def test_parity_with_torch(kind):
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  theirs = getattr(torch.nn, PEERS[kind])(M, H, num_layers=2, bidirectional=True, batch_first=True)
  with torch.no_grad():
    for parameter in theirs.parameters():
      parameter.normal_(0, 0.6)
  ours, their_gradients = ours_of(kind, theirs)
  positions, rng = tiny.positions(*LENGTHS, total=13), np.random.default_rng(0)
  x_BTM, target = (rng.normal(size=(1, 13, M)).astype(np.float32) for _ in range(2))
  graphdef, params, rest = nnx.split(ours, nnx.Param, ...)

  @jax.jit
  def solve(params, x_BTM):
    def loss(params, x_BTM):
      y_BTM, _ = nnx.merge(graphdef, params, rest)(x_BTM, positions)
      return (y_BTM * target).sum(), y_BTM

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x_BTM)

  (by_params, by_x), y_BTM = solve(params, x_BTM)
  first = 0
  for length in LENGTHS:
    part = slice(first, first + length)
    x = torch.tensor(x_BTM[:, part], requires_grad=True)
    y, _ = theirs(x)
    (y * torch.tensor(target[:, part])).sum().backward()
    np.testing.assert_allclose(y_BTM[:, part], y.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_x[:, part], x.grad, rtol=1e-4, atol=1e-4)
    first += length
  for (way, layer, name), gradient in their_gradients.items():
    np.testing.assert_allclose(by_params[way][layer][name][...], gradient(), rtol=1e-4, atol=1e-4)
