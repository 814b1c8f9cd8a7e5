"""The checks of a config beyond the types of its keys. All problems are reported at once."""
