"""Figures to files and to the page."""
