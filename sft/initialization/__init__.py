"""Initialisation of adapters, without changing the model's function at step 0."""
