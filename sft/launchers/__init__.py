"""Launchers, which run the process of an experiment: one file or folder each, with the protocol in `base.py`.

Their names are in `sft.plugins`.
"""
