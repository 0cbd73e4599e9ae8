"""One card per experiment, and the rules that every configuration obeys."""
