"""Significance of a table: its runs compared on the same test rows, with intervals and tests."""
