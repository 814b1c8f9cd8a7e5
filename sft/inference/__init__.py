"""Answers of a model: exact label log-probabilities and generated tokens. Plain ids in, arrays out."""
