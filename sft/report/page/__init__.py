"""`report.html`: one file with the table, figures and a page for each run. Scripts and styles are in this folder."""
