"""Quantised bases: how they are loaded, and what their layers need."""
