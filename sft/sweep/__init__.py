"""Many experiments, each its own process: what there is to run, running it, and what came of it. No torch in here."""
