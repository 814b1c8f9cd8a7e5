"""What users write: one frozen section per top-level key, loading from JSON and Jsonnet, and an experiment's identity."""
