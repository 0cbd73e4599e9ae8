"""Real text, read from installed packages and checked against its hash."""
