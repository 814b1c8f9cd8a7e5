"""Files that a report reads: runs, finished or not, and their answers."""
