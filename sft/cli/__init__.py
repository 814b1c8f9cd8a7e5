"""The commands, and what stands on their command lines."""
