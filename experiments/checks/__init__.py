"""Pure functions behind the checks, one file per group: each returns named samples."""
