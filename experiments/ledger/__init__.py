"""The committed evidence."""
