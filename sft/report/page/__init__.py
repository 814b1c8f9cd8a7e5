"""`report.html`: one file with the table, figures and a page for each run. The scripts and styles lie beside."""
