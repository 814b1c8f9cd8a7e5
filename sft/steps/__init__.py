"""The steps of `sft.pipeline`, each putting together the rooms below it: set up, adapt, judge, record."""
