"""What is shown: reports, the ledger page, tables on the terminal."""
