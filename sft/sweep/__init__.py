"""Run many experiments, each in its own process: planning, running, outcomes. Imports no torch."""
