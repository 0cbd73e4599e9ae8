"""Writers that show trials in other programs: one file, one writer, found by its name."""
