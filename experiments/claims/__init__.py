"""The claims of the documents, one file per group."""
