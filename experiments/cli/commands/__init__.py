"""One file per subcommand: run(space, overrides) -> (JSON document, exit code)."""
