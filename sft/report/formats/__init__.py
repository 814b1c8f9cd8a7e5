"""A comparison as terminal text, Markdown, CSV, LaTeX and JSON, and the sentences that all of them share."""
