"""Inference backends: one file each, all with the protocol of `base.py`. Their names are in `sft.plugins`."""
