"""Experiments as processes of this machine."""
