"""Readings of trained models, one file each."""
