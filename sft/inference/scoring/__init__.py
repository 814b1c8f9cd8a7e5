"""Scorers of labels, and the scores that they make."""
