"""The sections of a config, one file for each key of the top level, and the schema that they make."""
