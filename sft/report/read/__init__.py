"""What a report is about, as it lies on the disk: runs, finished or not, and what they answered."""
