"""Comparison of two runs: rows that they answer differently, and whether one reproduces the other."""
