"""Inference: exact label log-probabilities and generated tokens, from token ids to arrays."""
