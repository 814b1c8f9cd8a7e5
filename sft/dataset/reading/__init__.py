"""Files to rows: each cell of a text file (csv, tsv, json, jsonl) is read as a string, never as a type."""
