"""What users write: one frozen section per top-level key, loading of JSON and Jsonnet, an experiment's identity."""
