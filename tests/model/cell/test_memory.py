"""How long cells remember: the gradient of the last output by earlier inputs, and what lengthens it (RNN-3)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from model import build, initial
from model.mask import rows

H, LENGTH, BATCH = 32, 48, 4


@functools.cache
def slopes(**options):
  """Root mean square of d h_T / d x_t along a random direction of h, per lag, fresh from the initial draw."""
  cell = initial.realize(lambda: build.make("cell", {"kind": "lstm", **options}, width=H, hidden=H), 0)
  shapes = [(BATCH, LENGTH, H), (BATCH, H)]
  x_BTM, way_BH = (np.random.default_rng(i).normal(size=s).astype(np.float32) for i, s in enumerate(shapes))
  by_x = jax.jit(jax.grad(lambda x: (cell.run(x, rows(LENGTH))[0][:, -1] * way_BH).sum()))(x_BTM)
  return np.sqrt(np.square(by_x).mean((0, 2)))[::-1]


def test_chrono_gates_keep_what_other_gates_forget():
  forgets, keeps, lasts = slopes(forget_bias=0.0), slopes(), slopes(chrono=2 * LENGTH)
  assert lasts[-1] > 100 * keeps[-1] > 100 * 30 * forgets[-1] > 0
  assert lasts[0] < keeps[0]  # who keeps more takes in less


def test_an_lstm_forgets_exponentially():
  """Bengio et al. 1994, Pascanu et al. 2013: the log of the slope falls along a line."""
  fall = np.diff(np.log(slopes(forget_bias=0.0)[[8, 24, 40]]))
  assert (fall < -3).all()
  assert abs(fall[0] - fall[1]) < 0.4 * abs(fall[0])


def test_an_orthogonal_start_keeps_lengths():
  """Without saturation an orthogonal step is a rotation: a tiny input is carried to the end undiminished."""
  cell = initial.realize(lambda: build.make("cell", {"kind": "tanh"}, width=H, hidden=H), 0)
  kernel_HH = cell.recurrent[...][0]
  np.testing.assert_allclose(kernel_HH @ kernel_HH.T, np.eye(H), atol=1e-5)
  x_BTM = jnp.zeros((1, LENGTH, H)).at[0, 0].set(1e-3 * np.random.default_rng(0).normal(size=H))
  h_TH = jax.jit(lambda x: cell.run(x, rows(LENGTH))[0][0])(x_BTM)
  np.testing.assert_allclose(np.linalg.norm(h_TH, axis=-1), np.linalg.norm(h_TH[0]), rtol=1e-3)
