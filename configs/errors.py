"""The exception of this package; it stands apart so that slots and check may both raise it."""


class Refused(ValueError):
  """A user's mistake in a configuration, told in one line: what was received, what is allowed, what to do."""
