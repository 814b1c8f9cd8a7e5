"""Answers in free text: generated in batches, ended, constrained."""
