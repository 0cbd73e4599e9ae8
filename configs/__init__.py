"""One card per experiment, and the rules that every configuration obeys."""


class Refused(ValueError):
  """A user's mistake in a configuration, told in one line: what was received, what is allowed, what to do."""

  def __init__(self, message: str):
    # what was received may hold line breaks and other control characters
    super().__init__("".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in message))
