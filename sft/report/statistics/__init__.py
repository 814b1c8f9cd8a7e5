"""Statistics of a comparison: intervals and paired tests as pure functions of arrays. Knows no runs and no files."""
