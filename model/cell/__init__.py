"""Recurrent cells: one file = one cell."""
