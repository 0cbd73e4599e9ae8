"""`python -m experiments.cli` is `assay`."""

from experiments.cli.cli import entry

entry()
