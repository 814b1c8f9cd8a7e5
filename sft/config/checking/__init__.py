"""All that can be wrong with a config beyond its form, said at once."""
