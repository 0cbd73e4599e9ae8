"""Fused paths that several mechanisms share; no file here is a kind."""
