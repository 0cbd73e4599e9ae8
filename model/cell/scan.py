"""Martin & Cundy 2018, a linear recurrence whose gates read the input alone: h_t = a_t h_{t-1} + (1 - a_t) n_t.

a = sigmoid(W_a x + b_a), n = tanh(W_n x + b_n). Without the state in its gates it needs no loop: all steps are found in
log T rounds (Blelloch 1990).
"""

import jax
import jax.numpy as jnp

from model.cell.cell import Cell, entered, keeping, wide


class Scan(Cell):
  """Gates in the order keep, new. forget_bias and chrono: as in lstm, on the gate that keeps."""

  gates = 2

  def __init__(self, width: int, hidden: int, *, forget_bias: float = 1.0, chrono: int = 0):
    super().__init__(width, hidden)
    self.forget_bias, self.chrono = forget_bias, chrono
    keeping(hidden, forget_bias, chrono)  # refuses what is no lag

  def rest(self, batch, dtype):
    return super().rest(batch, wide(dtype))

  def step(self, dtype):
    def step(state, z_B):
      keep_BH, add_BH = self._terms(z_B)
      return {"h": keep_BH * state["h"] + add_BH}

    return step

  def sweep(self, z_TB, state, marks, begin):
    keep_TBH, add_TBH = self._terms(z_TB)
    # A segment's first token finds its own start: what came before is multiplied by 0. Padding keeps everything.
    first_TBH = entered({"h": jnp.zeros_like(add_TBH)}, marks, begin)["h"]
    add_TBH = jnp.where(marks.real_TB1, add_TBH + keep_TBH * first_TBH, 0.0)
    keep_TBH = jnp.where(marks.fresh_TB1, 0.0, jnp.where(marks.real_TB1, keep_TBH, 1.0))
    kept_TBH, h_TBH = jax.lax.associative_scan(_compose, (keep_TBH, add_TBH))
    h_TBH = h_TBH + kept_TBH * state["h"]
    return h_TBH, {"h": h_TBH[-1]}

  def _terms(self, z):
    """(a, (1 - a) n) of each token."""
    keep_H, new_H = self.bias[...]
    a = jax.nn.sigmoid(z[0] + keep_H + keeping(self.hidden, self.forget_bias, self.chrono))
    return a, (1 - a) * jnp.tanh(z[1] + new_H)


def _compose(first, second):
  """The map h -> a h + b of `first`, then that of `second`."""
  return second[0] * first[0], second[0] * first[1] + second[1]
