"""Attention models as plain flax modules; knows nothing of configs, tasks or files."""
