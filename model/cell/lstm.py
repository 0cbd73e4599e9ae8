"""Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000: c_t = f c_{t-1} + i u, h_t = o tanh(c_t).

i, f, o = sigmoid(W x + R h + b) and u = tanh(W x + R h + b), each with its own W, R and b. The loop over time has its
own backward pass, which finds the gradient of R in one product at the end; it cannot be differentiated forward (jvp).
"""

import jax
import jax.numpy as jnp
import numpy as np

from model.cell.cell import Cell, entered, fused, keeping, recurrent, times, wide


class Lstm(Cell):
  """Gates in the order input, forget, update, output: with two units the eight columns Z of every array of gates are

      i0 i1 | f0 f1 | u0 u1 | o0 o1

  and one product of h (B, 2) with R (2, 8) serves all. Where their inputs are 0 the gates are 1/2 and u is 0: c halves.

  forget_bias: added to the forget gate's trained bias, which starts at 0 (1.0: Jozefowicz et al. 2015). chrono: the
  longest lag to be remembered; in place of forget_bias, unit i forgets over about lag_i steps and takes in as slowly,
  the lags spread evenly over 1 to chrono - 1 (Tallec & Ollivier 2018). 0 = off.
  """

  gates = 4

  def __init__(self, width: int, hidden: int, *, forget_bias: float = 1.0, chrono: int = 0):
    super().__init__(width, hidden)
    self.recurrent = recurrent(self.gates, hidden)
    self.forget_bias, self.chrono = forget_bias, chrono
    keeping(hidden, forget_bias, chrono)  # refuses what is no lag

  def rest(self, batch, dtype):
    return {"c": jnp.zeros((batch, self.hidden), wide(dtype)), **super().rest(batch, dtype)}

  def cut(self, z):
    return z  # all gates in one array: see `_gates`

  def step(self, dtype):
    kernel_HZ, bias_Z = fused(self.recurrent[...]).astype(dtype), self._biases()
    return lambda state, z_BZ: _after(state, _odds(state, z_BZ, kernel_HZ, bias_Z))

  def sweep(self, z_TB, state, marks, begin):
    return _sweep(fused(self.recurrent[...]), self._biases(), z_TB, state, marks, begin)

  def _biases(self):
    """Trained and given biases of all gates, (4 H,)."""
    keep_H = keeping(self.hidden, self.forget_bias, self.chrono)
    given_GH = np.stack([-keep_H if self.chrono else 0 * keep_H, keep_H, 0 * keep_H, 0 * keep_H])
    return (self.bias[...] + given_GH).reshape(-1)


def _odds(state, z_BZ, kernel_HZ, bias_Z):
  """1 + exp(-z), of the gates' inputs z, from which `_gates` takes all four gates: tanh(z) = 2 sigmoid(2 z) - 1.

  One formula over whole rows is fast, and so is keeping the odds: since exp is dear, XLA computes them once and writes
  them over z in place; of cheap numbers, read twice, it would copy all times at every step.
  """
  z_BZ = z_BZ + times(state["h"], kernel_HZ) + bias_Z
  return 1 + jnp.exp(-_scales(z_BZ) * z_BZ)


def _gates(odds_BZ):
  """The gates i, f, u, o."""
  scale_Z = _scales(odds_BZ)
  return jnp.split(1 / odds_BZ * scale_Z - (scale_Z - 1), 4, -1)


def _scales(z_BZ):
  return np.repeat(np.array([1, 1, 2, 1], z_BZ.dtype), z_BZ.shape[-1] // 4)


def _after(state, odds_BZ):
  i_BH, f_BH, u_BH, o_BH = _gates(odds_BZ)
  c_BH = f_BH * state["c"] + i_BH * u_BH
  return {"c": c_BH, "h": (o_BH * jnp.tanh(c_BH)).astype(state["h"].dtype)}


@jax.custom_vjp
def _sweep(kernel_HZ, bias_Z, z_TBZ, state, marks, begin):
  return _forward(kernel_HZ, bias_Z, z_TBZ, state, marks, begin)[0]


def _forward(kernel_HZ, bias_Z, z_TBZ, state, marks, begin):
  """All steps: ((h_TBH, last state), what the way back needs)."""
  own_HZ = kernel_HZ.astype(state["h"].dtype)

  def one(t, loop):
    state, odds_TBZ, c_TBH, h_TBH = loop
    here, new = jax.tree.map(lambda a: _at(a, t), (marks, begin))
    state = entered(state, here, new)
    odds_BZ = _odds(state, _at(odds_TBZ, t), own_HZ, bias_Z)
    after = _after(state, odds_BZ)
    after = {name: jnp.where(here.real_TB1, after[name], old) for name, old in state.items()}
    return after, _put(odds_TBZ, odds_BZ, t), _put(c_TBH, state["c"], t), _put(h_TBH, after["h"], t)

  c_TBH, h_TBH = (jnp.zeros((len(z_TBZ), *state[name].shape), state[name].dtype) for name in ("c", "h"))
  last, odds_TBZ, c_TBH, h_TBH = jax.lax.fori_loop(0, len(z_TBZ), one, (state, z_TBZ, c_TBH, h_TBH))
  return (h_TBH, last), (kernel_HZ, odds_TBZ, c_TBH, h_TBH, state["h"], marks, begin)


def _backward(kept, given):
  """The gradients, d_x that by x; none by the marks."""
  kernel_HZ, odds_TBZ, c_TBH, h_TBH, h_BH, marks, begin = kept
  d_h_TBH, d_state = given
  dtype, length = h_BH.dtype, len(odds_TBZ)
  back_ZH = kernel_HZ.astype(dtype).T

  def one(index, loop):
    d_state, d_z_TBZ, d_z_BZ, d_begin = loop
    t = length - 1 - index
    fresh_B1, real_B1 = (_at(mark, t) for mark in marks)
    d_state = {"c": d_state["c"], "h": d_state["h"] + _at(d_h_TBH, t)}
    through = {name: jnp.where(real_B1, d, 0) for name, d in d_state.items()}
    d_c_BH, parts = _through(through, _at(d_z_TBZ, t), _at(c_TBH, t))
    for gate, part_BH in enumerate(parts):  # into a row that exists: a concatenation would be slow
      d_z_BZ = jax.lax.dynamic_update_slice(d_z_BZ, part_BH, (0, gate * part_BH.shape[1]))
    found = {"c": d_c_BH, "h": times(d_z_BZ.astype(dtype), back_ZH)}
    d_state = {name: jnp.where(real_B1, found[name], d) for name, d in d_state.items()}
    if d_begin is not None:
      d_begin = {name: _put(d_begin[name], jnp.where(fresh_B1, d, 0), t) for name, d in d_state.items()}
    d_state = {name: jnp.where(fresh_B1, 0, d) for name, d in d_state.items()}
    return d_state, _put(d_z_TBZ, d_z_BZ, t), d_z_BZ, d_begin

  d_state = {name: d.astype(odds_TBZ.dtype) for name, d in d_state.items()}
  d_begin = jax.tree.map(jnp.zeros_like, begin)
  loop = jax.lax.fori_loop(0, length, one, (d_state, odds_TBZ, jnp.zeros_like(odds_TBZ[0]), d_begin))
  d_state, d_z_TBZ, _, d_begin = loop
  before_TBH = entered({"h": jnp.concatenate([h_BH[None], h_TBH[:-1]])}, marks, begin)["h"]
  d_z_NZ = d_z_TBZ.reshape(-1, d_z_TBZ.shape[-1])
  d_kernel_HZ = times(before_TBH.reshape(-1, h_BH.shape[-1]).T, d_z_NZ.astype(dtype)).astype(kernel_HZ.dtype)
  d_state = d_state | {"h": d_state["h"].astype(dtype)}
  return d_kernel_HZ, d_z_NZ.sum(0), d_z_TBZ, d_state, None, d_begin


def _through(d_state, odds_BZ, c_BH):
  """Back through one step from the state c before it: the gradients by c and by the inputs of the gates."""
  i_BH, f_BH, u_BH, o_BH = _gates(odds_BZ)
  top_BH = jnp.tanh(f_BH * c_BH + i_BH * u_BH)
  d_h_BH = d_state["h"]
  d_c_BH = d_state["c"] + d_h_BH * o_BH * (1 - top_BH * top_BH)
  return d_c_BH * f_BH, (
    d_c_BH * u_BH * i_BH * (1 - i_BH),
    d_c_BH * c_BH * f_BH * (1 - f_BH),
    d_c_BH * i_BH * (1 - u_BH * u_BH),
    d_h_BH * top_BH * o_BH * (1 - o_BH),
  )


_sweep.defvjp(_forward, _backward)


def _at(a_T, t):
  return jax.lax.dynamic_index_in_dim(a_T, t, keepdims=False)


def _put(a_T, value, t):
  return jax.lax.dynamic_update_index_in_dim(a_T, value, t, 0)
