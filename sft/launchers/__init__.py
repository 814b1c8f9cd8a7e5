"""Where an experiment's process runs: one file or folder per launcher, all behind the protocol in `base.py`.

Their names: `sft.plugins`.
"""
