"""Runs trials, checks and benches on worker processes and stores what comes out. Nothing here imports jax."""
