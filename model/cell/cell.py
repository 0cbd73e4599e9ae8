"""What recurrent cells share: s_t = f(s_{t-1}, W x_t), where the products W x_t of all gates and times are one.

The state starts anew where a segment begins and stands still on padding, so packed rows equal rows alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model.errors import Refused
from model.initial import param
from model.mask import Positions

State = dict[str, jax.Array]  # each (B, H); "h" is the cell's output


class Carry(NamedTuple):
  """State after the tokens seen so far, and the segment (B,) that it belongs to: 0 where nothing was seen."""

  state: State
  segment_B: jax.Array


class Marks(NamedTuple):
  """Time first, (T, B, 1), or (B, 1) at one time: does a segment begin with this token, and is there a token?"""

  fresh_TB1: jax.Array
  real_TB1: jax.Array


class Cell(nnx.Module):
  """`width` inputs and a state of size `hidden`. A cell defines `step`, and `sweep` where it has a faster way."""

  gates = 1

  def __init__(self, width: int, hidden: int):
    self.width, self.hidden = width, hidden
    self.kernel = param((width, self.gates, hidden), "kernel", fan_in=width, fan_out=hidden)
    self.bias = param((self.gates, hidden), "bias")

  def rest(self, batch: int, dtype) -> State:
    """The state before the first token."""
    return {"h": jnp.zeros((batch, self.hidden), dtype)}

  def start(self, batch: int, dtype) -> Carry:
    """A carry that has seen nothing."""
    return Carry(self.rest(batch, dtype), jnp.zeros((batch,), jnp.int32))

  def enter(self, x, first: int = 0):
    """What the inputs `first`, `first` + 1, ... give to all gates: one product, float32 or wider, before any bias.

    x (..., M). Returns one array (..., H) per gate; a cell may keep them together.
    """
    kernel = self.kernel[...][first : first + x.shape[-1]].astype(x.dtype).reshape(x.shape[-1], -1)
    # As one flat matrix, or the gradient of the kernel would contract two axes, which takes twice the time on CPU.
    z_NZ = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=wide(x.dtype))
    return self.cut(z_NZ.reshape(*x.shape[:-1], -1))

  def cut(self, z: jax.Array) -> Any:
    """The gates' parts of a product, as `step` and `sweep` take them."""
    return tuple(jnp.split(z, self.gates, -1))

  def step(self, dtype) -> Callable[[State, Any], State]:
    """The function f(state, z_B) -> state; the matrices are made ready here, outside of the loop over time."""
    raise TypeError(f"{type(self).__name__} is a cell without a step")

  def sweep(self, z_TB, state: State, marks: Marks, begin: State | None) -> tuple[jax.Array, State]:
    """All steps, one after the other; returns (h_TBH, last state)."""
    move = self.moves(state["h"].dtype)

    def one(state, now):
      state = move(state, *now)
      return state, state["h"]

    state, h_TBH = jax.lax.scan(one, state, (z_TB, marks, begin))
    return h_TBH, state

  def moves(self, dtype) -> Callable[[State, Any, Marks, State | None], State]:
    """A step that begins anew, at `begin` (None: at rest), with a new segment, and stands still where no token is."""
    step = self.step(dtype)

    def move(state, z_B, marks, begin=None):
      before = entered(state, marks, begin)
      after = step(before, z_B)
      return {name: jnp.where(marks.real_TB1, after[name], before[name]) for name in before}

    return move

  def run(
    self, x_BTM, positions: Positions, carry: Carry | None = None, *, begin: State | None = None, reverse: bool = False
  ):
    """Outputs h_BTH in x's dtype, 0 on padding, and the carry after the last token.

    carry: the state before the row; it goes on where the row begins with the carry's segment. begin: the state (arrays
    of shape (B, T, H)) in which the segment that begins at a token starts; None = zeros. reverse: from the last token
    to the first.
    """
    batch, length, _ = x_BTM.shape
    carry = self.start(batch, x_BTM.dtype) if carry is None else carry
    segment_BT = jnp.broadcast_to(jnp.asarray(positions.segment_BT, jnp.int32), (batch, length))
    if reverse:
      x_BTM, segment_BT, begin = jax.tree.map(lambda a: a[:, ::-1], (x_BTM, segment_BT, begin))
    marks, segment_B = marked(segment_BT, carry.segment_B)
    z_TB = self.enter(jnp.swapaxes(x_BTM, 0, 1))
    begin = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), begin)
    h_TBH, state = self.sweep(z_TB, carry.state, marks, begin)
    h_BTH = jnp.swapaxes(jnp.where(marks.real_TB1, h_TBH, 0).astype(x_BTM.dtype), 0, 1)
    return (h_BTH[:, ::-1] if reverse else h_BTH), Carry(state, segment_B)


def wide(dtype):
  """float32, or the dtype itself if it is wider."""
  return jnp.promote_types(dtype, jnp.float32)


def recurrent(gates: int, hidden: int) -> nnx.Param:
  """Matrices from the state to each gate, (gates, H, H), orthogonal (Saxe et al. 2014): the state keeps its length."""
  return param((gates, hidden, hidden), "orthogonal", fan_in=hidden, fan_out=hidden)


def fused(kernel_GHH: jax.Array) -> jax.Array:
  """The matrices side by side, (H, gates * H), so that one product per step serves all gates."""
  return jnp.moveaxis(kernel_GHH, 0, 1).reshape(kernel_GHH.shape[1], -1)


def times(h_BH, kernel_HZ):
  """The product in float32 or wider."""
  return jnp.matmul(h_BH, kernel_HZ, preferred_element_type=wide(h_BH.dtype))


def entered(state: State, marks: Marks, begin: State | None) -> State:
  """The state that a token finds: that of its segment."""
  new = dict.fromkeys(state, 0.0) if begin is None else begin
  return {name: jnp.where(marks.fresh_TB1, new[name], old).astype(old.dtype) for name, old in state.items()}


def marked(segment_BT, segment_B) -> tuple[Marks, jax.Array]:
  """Where segments begin when `segment_B` was the last one before the row; and the last one after it."""
  real_BT, columns = segment_BT > 0, jnp.arange(segment_BT.shape[1])
  last_BT = jax.lax.cummax(jnp.where(real_BT, columns, -1), axis=1)  # the newest token so far
  known_BT = jnp.take_along_axis(segment_BT, jnp.maximum(last_BT, 0), 1)
  after_BT = jnp.where(last_BT < 0, segment_B[:, None], known_BT)
  before_BT = jnp.concatenate([segment_B[:, None], after_BT[:, :-1]], 1)
  fresh_BT = real_BT & (segment_BT != before_BT)
  return Marks(*(a.T[..., None] for a in (fresh_BT, real_BT))), after_BT[:, -1]


def keeping(hidden: int, forget_bias: float, chrono: int) -> np.ndarray:
  """What stands in the bias of a gate sigmoid(... + bias) that keeps the state.

  With a longest lag `chrono` unit i keeps it over about lag_i steps: log of `hidden` lags spread evenly over 1 to
  chrono - 1 (Tallec & Ollivier 2018, who draw them at random); else forget_bias.
  """
  if chrono < 0 or chrono == 1:
    raise Refused(f"cell.chrono={chrono} is no lag; give the longest lag to be remembered, 2 or more, or 0 for none")
  found = np.log(np.linspace(1, chrono - 1, hidden)) if chrono else np.full(hidden, forget_bias)
  return found.astype(np.float32)
