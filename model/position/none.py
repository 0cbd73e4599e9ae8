"""No position information: f(Px) = P f(x) for a bidirectional encoder."""

from model.position.scheme import Position


class None_(Position):  # noqa: N801 - `None` is a keyword
  """Order is known only through the rule of who sees whom."""

  cost_time = "0"
  cost_memory = "0"
