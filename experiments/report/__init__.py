"""One self-contained offline HTML page."""
