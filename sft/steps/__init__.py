"""The steps of `sft.pipeline`, each built from the packages below it: set up, adapt, evaluate, record."""
