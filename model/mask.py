"""Who may see whom: a rule over positions, within one segment; mask(q, k) = rule(q, k) and segment_q = segment_k > 0.

Rules speak positions, never indices, so packed rows, padding, memories and rotated caches need no rule of their own.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.errors import Refused

EARLIER, OWN = 4, 8  # bits of Mask.mark_BS; 2 is free for a mechanism


class Positions(NamedTuple):
  """Where each token stands: integers of shape (B, T), or (1, T) when all rows agree.

  Segment 0 means nothing is there (padding, an empty cache slot); tokens see only tokens of their own segment.
  """

  pos_BT: jax.Array | np.ndarray
  segment_BT: jax.Array | np.ndarray

  def at(self, t) -> "Positions":
    """The part at column index `t` (a slice or an array of columns)."""
    return Positions(self.pos_BT[:, t], self.segment_BT[:, t])


def rows(length: int, start=0) -> Positions:
  """Positions of shape (1, length) for whole rows from position `start`; static (numpy) when `start` is an int."""
  numbers = np if isinstance(start, int) else jnp
  return Positions(start + numbers.arange(length, dtype=np.int32)[None], np.ones((1, length), np.int32))


class Rule:
  """A predicate over positions; combine with &, | and ~."""

  def __call__(self, q: Positions, k: Positions, mark_BS=None):
    """Returns booleans that broadcast to (B, t, s)."""
    raise TypeError(f"{type(self).__name__} is a rule without a __call__")

  def __and__(self, other: "Rule") -> "Rule":
    return Both(self, other)

  def __or__(self, other: "Rule") -> "Rule":
    return Either(self, other)

  def __invert__(self) -> "Rule":
    return Not(self)


@dataclasses.dataclass(frozen=True)
class Both(Rule):
  """`first & second`."""

  first: Rule
  second: Rule

  def __call__(self, q, k, mark_BS=None):
    return self.first(q, k, mark_BS) & self.second(q, k, mark_BS)


@dataclasses.dataclass(frozen=True)
class Either(Rule):
  """`first | second`."""

  first: Rule
  second: Rule

  def __call__(self, q, k, mark_BS=None):
    return self.first(q, k, mark_BS) | self.second(q, k, mark_BS)


@dataclasses.dataclass(frozen=True)
class Not(Rule):
  """`~inner`; segments still hold."""

  inner: Rule

  def __call__(self, q, k, mark_BS=None):
    return ~self.inner(q, k, mark_BS)


@dataclasses.dataclass(frozen=True)
class Everything(Rule):
  """Every key of the same segment."""

  def __call__(self, q, k, mark_BS=None):
    return jnp.ones((1, 1, 1), bool)


@dataclasses.dataclass(frozen=True)
class Causal(Rule):
  """Keys at or before the query's position."""

  def __call__(self, q, k, mark_BS=None):
    return q.pos_BT[:, :, None] >= k.pos_BT[:, None, :]


@dataclasses.dataclass(frozen=True)
class Window(Rule):
  """Keys less than `width` positions away, on either side."""

  width: int

  def __call__(self, q, k, mark_BS=None):
    return jnp.abs(q.pos_BT[:, :, None] - k.pos_BT[:, None, :]) < self.width


@dataclasses.dataclass(frozen=True)
class Recent(Rule):
  """Keys of the query's stretch of `stretch` positions, and of the `memory` positions before its start."""

  stretch: int
  memory: int

  def __call__(self, q, k, mark_BS=None):
    first_BT1 = (q.pos_BT // self.stretch * self.stretch)[:, :, None]
    ahead_BTS = k.pos_BT[:, None, :] - first_BT1
    return (ahead_BTS >= -self.memory) & (ahead_BTS < self.stretch)


@dataclasses.dataclass(frozen=True)
class Once(Rule):
  """Of keys that stand twice, those marked EARLIER in later stretches and those marked OWN in their own; all others."""

  stretch: int

  def __call__(self, q, k, mark_BS=None):
    if mark_BS is None or mark_BS.dtype == bool:
      return jnp.ones((1, 1, 1), bool)
    same_BTS = (q.pos_BT // self.stretch)[:, :, None] == (k.pos_BT // self.stretch)[:, None, :]
    earlier_B1S, own_B1S = ((mark_BS & bit > 0)[:, None, :] for bit in (EARLIER, OWN))
    return jnp.where(same_BTS, ~earlier_B1S, ~own_B1S)


@dataclasses.dataclass(frozen=True)
class Anchors(Rule):
  """Keys at the given positions, whoever asks."""

  positions: tuple[int, ...]

  def __call__(self, q, k, mark_BS=None):
    return jnp.isin(k.pos_BT, jnp.asarray(self.positions, jnp.int32))[:, None, :]


@dataclasses.dataclass(frozen=True)
class Marked(Rule):
  """Keys chosen by content: those that Mask.mark_BS marks."""

  def __call__(self, q, k, mark_BS=None):
    if mark_BS is None:
      raise Refused("the rule marked() needs Mask(mark_BS=...), booleans of shape (B, S); none were given")
    return by_content(mark_BS)[:, None, :]


def everything() -> Rule:
  """Bidirectional attention."""
  return Everything()


def causal() -> Rule:
  """No look at the future: key position <= query position."""
  return Causal()


def window(width: int) -> Rule:
  """|query - key| < width, in positions."""
  if width < 1:
    raise Refused(f"window width {width} lets nobody see anything; give 1 (itself only) or more")
  return Window(int(width))


def recent(stretch: int, memory: int) -> Rule:
  """Segment memory (Dai et al. 2019): positions are cut into stretches; seen are one's own and `memory` before it."""
  return Recent(int(stretch), int(memory))


def once(stretch: int) -> Rule:
  """Keys marked EARLIER are seen from later stretches only, those marked OWN from their own."""
  return Once(int(stretch))


def anchors(*positions: int) -> Rule:
  """Keys at these positions are seen by all."""
  return Anchors(tuple(int(position) for position in positions))


def marked() -> Rule:
  """Keys marked by content (Mask.mark_BS)."""
  return Marked()


def by_content(mark_BS):
  """Of marks as a Mask has them: those set by content, booleans (B, S)."""
  return mark_BS if mark_BS.dtype == bool else mark_BS % 2 > 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mask:
  """Queries, keys and the rule between them: all that an attention layer knows of masks.

  mark_BS: booleans, keys chosen by content; or integers, of which the lowest bit says that (`by_content`) and the bits
  EARLIER and OWN tell apart the keys of a row that stands twice (`once`).
  """

  q: Positions
  k: Positions
  rule: Rule = dataclasses.field(metadata={"static": True})
  mark_BS: jax.Array | None = None

  def tile(self, t=slice(None), s=slice(None)) -> jax.Array:
    """Booleans (B|1, t, s): may the queries at columns `t` see the keys at columns `s`?"""
    # As jax arrays, or static positions would bake a T by S table into the compiled program.
    q = Positions(*(jnp.asarray(a) for a in self.q.at(t)))
    k = Positions(*(jnp.asarray(a) for a in self.k.at(s)))
    mark_BS = None if self.mark_BS is None else self.mark_BS[:, s]
    inside = (q.segment_BT[:, :, None] == k.segment_BT[:, None, :]) & (k.segment_BT[:, None, :] > 0)
    return self.rule(q, k, mark_BS) & inside
