"""Formats of a comparison: terminal text, Markdown, CSV, LaTeX and HTML fragment, and the notes that they share."""
