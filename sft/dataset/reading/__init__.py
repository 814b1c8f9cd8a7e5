"""Files to rows: each cell of a text file (csv, tsv, json, jsonl) is read as the text that it is, never as a type."""
