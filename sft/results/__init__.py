"""The output of a run: its folder, state and result, written so that no finished work is ever lost."""
