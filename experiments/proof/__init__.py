"""Evidence that survives refactoring: rows of the ledger held against the programs of two trees."""
