"""The command line: `assay` and its subcommands; thin layers over the rooms below."""
