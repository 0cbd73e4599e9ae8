"""Whole models, one model.kind a file."""
