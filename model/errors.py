"""The one exception that means: the user asked for something that cannot be done."""


class Refused(ValueError):
  """A user's mistake, told in one line: what was received, what is allowed, what to do."""
