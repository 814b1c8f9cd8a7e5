"""How sure a comparison is: intervals, paired tests and ties, pure functions of arrays. Knows no runs and no files."""
