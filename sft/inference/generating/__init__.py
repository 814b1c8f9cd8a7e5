"""Generation of answers in batches, with stop strings and constraints."""
