"""Run experiments as processes on this machine."""
